"""Finite scalar quantization: every dimension rounded to a few levels, no codebook to learn.

Legend: B samples, N positions, D dimensions, L levels of one dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.precision import full_precision
from zellige.quantize.base import Quantized, Quantizer, straight_through
from zellige.quantize.separable import nearest_on_grid
from zellige.quantize.stats import batch_stats

_EPSILON = 1e-3
"""Keeps the bounded value off the last rounding threshold."""


class FiniteScalarQuantizer(Quantizer):
    """Rounds each bounded latent dimension to `levels[d]` values (FSQ, arXiv 2309.15505).

    b_d = tanh(z_d + s_d)·h_d − o_d with h = (L − 1)(1 − ε)/2, o = ½ for even L, else 0, s = tan(o/h);
    z_q = round(b) / ⌊L/2⌋, inside [−1, 1]. Gradients pass the rounding unchanged, so they are those of b.
    Ids are mixed radix, the first level fastest: Σ_d digit_d · Π_{e<d} L_e.

    Example:
        >>> quantizer = FiniteScalarQuantizer((8, 5, 5))
        >>> quantizer.encode(torch.zeros(1, 4, 3))
        tensor([[100, 100, 100, 100]])
    """

    sizes: Tensor
    strides: Tensor

    def __init__(self, levels: tuple[int, ...], dim: int | None = None) -> None:
        """`levels` per dimension, each ≥ 2; `dim`, where given, must be their number."""
        super().__init__()
        self.levels = tuple(int(level) for level in levels)
        if not self.levels or min(self.levels) < 2:
            raise UsageError(f"FSQ needs one or more levels of at least 2; got levels={self.levels}")
        if dim not in (None, len(self.levels)):
            raise UsageError(f"FSQ with levels={self.levels} takes dim={len(self.levels)}, not dim={dim}")
        self.dim = len(self.levels)
        self.codebook = (math.prod(self.levels),)
        if self.codebook[0] >= 2**63:
            raise UsageError(f"FSQ levels {self.levels} make more codes than an int64 id can name")
        strides = [math.prod(self.levels[:d]) for d in range(self.dim)]
        self.register_buffer("sizes", torch.tensor(self.levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def forward(self, z: Tensor) -> Quantized:
        bounded = self._bound(z)
        rounded = bounded.detach().round()
        ids = self._ids(rounded)
        z_q = straight_through(bounded, rounded) / (self.sizes // 2)
        return Quantized(z_q.to(z.dtype), ids, stats=batch_stats(ids, self.codebook[0]))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return self._ids(self._bound(z).round())

    def lookup(self, ids: Tensor) -> Tensor:
        half = self.sizes // 2
        return (self._digits(ids) - half).float() / half

    @torch.no_grad()
    def neighbours(self, query: Tensor, k: int) -> Tensor:
        if query.is_floating_point():
            values = self._bound(query) / (self.sizes // 2)
            chosen = self.encode(query)
        else:
            values, chosen = self.lookup(query), query
        costs = []
        for d, level in enumerate(self.levels):
            codes = (torch.arange(level, device=values.device) - level // 2) / (level // 2)
            costs.append((values[..., d].reshape(-1, 1) - codes).square())
        return nearest_on_grid(costs, self._digits(chosen).reshape(-1, self.dim), k).reshape(*chosen.shape, k)

    def _bound(self, z: Tensor) -> Tensor:
        if z.shape[-1] != self.dim:
            raise UsageError(f"FSQ with levels={self.levels} takes latents of {self.dim} dimensions, not {z.shape[-1]}")
        # From integers each time: float buffers would lose digits in a model cast to bfloat16.
        half_range = (self.sizes.float() - 1) * ((1 - _EPSILON) / 2)
        offset = (self.sizes % 2 == 0).float() / 2
        with full_precision(z):
            return torch.tanh(z.float() + torch.tan(offset / half_range)) * half_range - offset

    def _ids(self, rounded: Tensor) -> Tensor:
        return ((rounded.long() + self.sizes // 2) * self.strides).sum(-1)

    def _digits(self, ids: Tensor) -> Tensor:
        return ids[..., None] // self.strides % self.sizes
