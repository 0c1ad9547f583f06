"""Networks that tell originals from reconstructions: images (B, 3, H, W) in [-1, 1] to logits, high for "real"."""
