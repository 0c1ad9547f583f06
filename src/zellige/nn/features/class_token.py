"""A vision transformer whose class token is the feature: what DINOv2 makes of an image as a whole.

Legend: B samples, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.features.vit import IMAGENET_MEAN, IMAGENET_STD
from zellige.nn.vit import ViTTrunk


class ClassTokenFeatures(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to class features (B, C), by a ViT with LayerScale (DINOv2, arXiv 2304.07193).

    Attributes:
        width: C.

    Args:
        channels: C.
        depth: blocks.
        head_width: channels of an attention head.
        patch: pixels a side of a patch.
        size: pixels a side of the images it sees; others are resized, bicubic and antialiased.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, depth: int, *, head_width: int = 64, patch: int, size: int) -> None:
        super().__init__()
        heads = max(1, channels // head_width)
        self.trunk = ViTTrunk(channels, depth, heads, grid=size // patch, patch=patch, layer_scale=1.0)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.width, self.size = channels, size

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True)
        x = ((x + 1) / 2 - self.mean) / self.std
        assert self.trunk.patch_embed is not None
        return self.trunk(self.trunk.placed(self.trunk.patch_embed(x)))[:, 0]
