"""Normalisation of the channels of a token. Legend: C channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.precision import at_least_float32


class RMSNorm(nn.Module):
    """Channels divided by their root mean square (arXiv 1910.07467), in float32 whatever type they have.

    Unlike torch's own, it takes half-precision channels with float32 weights, which is what autocast gives it.

    Args:
        dim: C.
        eps: added to the mean square.
        affine: multiply each channel by a learned weight.
    """

    def __init__(self, dim: int, eps: float = 1e-6, *, affine: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else at_least_float32(self.weight)
        return F.rms_norm(at_least_float32(x), x.shape[-1:], weight, self.eps).to(x.dtype)


def make_norm(kind: str, dim: int, eps: float = 1e-6, *, affine: bool = True) -> nn.Module:
    """``layer`` or ``rms`` normalisation; `affine` gives it weights."""
    return RMSNorm(dim, eps, affine=affine) if kind == "rms" else nn.LayerNorm(dim, eps, elementwise_affine=affine)
