"""Building blocks of networks, with no opinion about what they are for."""
