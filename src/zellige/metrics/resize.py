"""How images reach a feature network: the resizings that published numbers differ by.

Legend: B images, C channels, H W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def tf1_bilinear(x: Tensor, size: int) -> Tensor:
    """TensorFlow 1's bilinear resize, bit by bit: float32 (B, C, H, W) to (B, C, size, size).

    Output pixel i samples input position i · H / size, without half-pixel offset or antialiasing, so
    the image shifts towards the upper left. Frozen into the Inception graph of 2015.
    """
    y0, y1, fy = _tf1_axis(x.shape[-2], size, x.device)
    x0, x1, fx = _tf1_axis(x.shape[-1], size, x.device)
    rows = []
    for row in (x[..., y0, :], x[..., y1, :]):
        left = row[..., x0]
        rows.append(left + (row[..., x1] - left) * fx)
    return rows[0] + (rows[1] - rows[0]) * fy[:, None]


def half_pixel_bilinear(x: Tensor, size: int) -> Tensor:
    """Bilinear between pixel centres, without antialiasing: (B, C, H, W) to (B, C, size, size)."""
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


def pil_bicubic(x: Tensor, size: int) -> Tensor:
    """Pillow's antialiased bicubic on each channel, clipped but not rounded: values (B, C, H, W) in [0, 255]."""
    planes = x.detach().float().cpu().flatten(0, 1).numpy()
    resized = [np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC)) for plane in planes]
    return torch.from_numpy(np.stack(resized)).clamp_(0, 255).view(*x.shape[:2], size, size).to(x.device)


def _tf1_axis(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper input index of each output position, and the weight of the upper one, in float32."""
    scale = np.float32(length) / np.float32(size)
    position = np.arange(size, dtype=np.float32) * scale
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, length - 1)
    weight = position - lower.astype(np.float32)
    return tuple(torch.from_numpy(a).to(device) for a in (lower, upper, weight))  # type: ignore[return-value]
