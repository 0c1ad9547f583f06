"""Clips as the Fréchet video distance takes them.

Legend: B clips, T frames, H W pixels.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from zellige.metrics.features import ImageFeatures
from zellige.nn.features.i3d import I3D


def fvd_clip(video: Tensor, size: int = 224) -> Tensor:
    """(B, 3, T, H, W) in [-1, 1] to (B, 3, T, size, size): short side to `size`, bilinear; centre crop."""
    batch, _, frames, height, width = video.shape
    scale = size / min(height, width)
    shape = (size, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), size)
    x = F.interpolate(video.transpose(1, 2).flatten(0, 1), shape, mode="bilinear", align_corners=False)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    x = x[..., top : top + size, left : left + size]
    return x.unflatten(0, (batch, frames)).transpose(1, 2).contiguous()


def i3d_features(network: I3D) -> ImageFeatures:
    """FVD (arXiv:1812.01717): 400 logits a clip, averaged over time. Clips (B, 3, T, H, W), usually of 16 frames.

    The number depends on the frames a clip has and on the count of clips (usually 2,048): state both.
    """
    resize = "short side to 224 bilinear, centre crop"
    classes = network.logits.conv3d.out_channels
    return ImageFeatures("I3D Kinetics-400 logits", classes, network, network, fvd_clip, resize, "FVD")
