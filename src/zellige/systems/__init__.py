"""Published systems: one module and one card (`<slug>.toml`) each, composed of parts."""
