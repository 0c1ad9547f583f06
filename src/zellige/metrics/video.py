"""Clips as the Fréchet video distance takes them.

Legend: B clips, T frames, H W pixels.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def fvd_clip(video: Tensor, size: int = 224) -> Tensor:
    """uint8 frames (B, T, H, W, 3) to (B, 3, T, size, size) in [-1, 1]: short side to `size`, bilinear; centre crop."""
    batch, frames, height, width = video.shape[:4]
    scale = size / min(height, width)
    shape = (size, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), size)
    x = video.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    x = F.interpolate(x, shape, mode="bilinear", align_corners=False)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    x = x[..., top : top + size, left : left + size] * 2 - 1
    return x.unflatten(0, (batch, frames)).transpose(1, 2).contiguous()
