"""What everything else stands on: tokens, contracts, cards, the registry, weights, images, errors."""
