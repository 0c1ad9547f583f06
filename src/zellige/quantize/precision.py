"""Keeping index arithmetic out of the reach of autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Autocast off on the device of `like`: float32 matmuls stay float32, so ids do not move."""
    return torch.autocast(like.device.type, enabled=False)
