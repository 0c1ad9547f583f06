"""Networks whose features judge images: in losses, and in metrics.

A feature network takes images (B, 3, H, W) in [-1, 1] and returns a list of feature maps (B, C, …), one a
stage, and has their widths as ``channels``; what it was trained on (range, mean, size) is converted inside.
Weights are not part of the library: a network is built empty and filled from a local file.
"""
