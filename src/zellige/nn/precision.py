"""Where half precision is too little."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or in float32 if it has a shorter floating-point type."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
