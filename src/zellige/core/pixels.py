"""What callers pass as an image, as pixels: float (B, 3, H, W) in [-1, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError

if TYPE_CHECKING:
    from zellige.core.contract import ImageLike


def from_uint8(array: np.ndarray | Tensor) -> Tensor:
    """uint8 (H, W, 3) or (B, H, W, 3) to float (B, 3, H, W) in [-1, 1], channels-last in memory."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()  # torch warns of arrays that it cannot write to
    t = torch.as_tensor(array)
    if t.dtype != torch.uint8 or t.ndim not in (3, 4) or t.shape[-1] != 3:
        raise UsageError(f"an image array is uint8 (H, W, 3) or (B, H, W, 3); got {t.dtype} {tuple(t.shape)}")
    return (t if t.ndim == 4 else t[None]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> np.ndarray:
    """float (B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3), rounded to nearest."""
    return ((x.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def to_pixels(x: ImageLike) -> Tensor:
    """A tensor, path, PIL image or uint8 array as float (B, 3, H, W) in [-1, 1]."""
    if isinstance(x, Tensor) and x.is_floating_point():
        if x.ndim not in (4, 5) or x.shape[1] != 3:
            raise UsageError(f"pixels are float (B, 3, H, W) in [-1, 1]; got {tuple(x.shape)}")
        return x
    if isinstance(x, (Tensor, np.ndarray)):
        return from_uint8(x)
    from zellige.core.images import load_image, to_rgb

    return from_uint8(load_image(x) if isinstance(x, (str, Path)) else to_rgb(x))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (…, H, W) on the right and bottom by edge replication until `multiple` divides both."""
    right, bottom = -x.shape[-1] % multiple, -x.shape[-2] % multiple
    if not (right or bottom):
        return x
    flat = x.flatten(0, -4) if x.ndim > 4 else x
    return F.pad(flat, (0, right, 0, bottom), mode="replicate").reshape(
        *x.shape[:-2], x.shape[-2] + bottom, x.shape[-1] + right
    )
