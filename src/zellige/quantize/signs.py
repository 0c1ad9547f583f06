"""The codebook that is not stored: all 2^D vectors of signs.

Legend: M vectors, D dimensions, which are bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.quantize.separable import nearest_on_grid

_ROWS = 2**13
"""Vectors whose nearest codes are listed at once."""


class SignCodebook(nn.Module):
    """The vectors ±1 in D dimensions, with the search of a `Codebook`; it has no state.

    Ids are little-endian: bit d weighs 2^d and is 1 where dimension d is positive.
    """

    weights: Tensor

    def __init__(self, dim: int) -> None:
        """`dim`: D, 1 to 62."""
        super().__init__()
        if not 1 <= dim <= 62:
            raise UsageError(f"a binary code has 1 to 62 bits; got dim={dim}")
        self.dim = dim
        self.register_buffer("weights", 2 ** torch.arange(dim), persistent=False)

    def project(self, z: Tensor) -> Tensor:
        """Vectors as they are compared: as they are."""
        return z.float()

    def lookup(self, ids: Tensor) -> Tensor:
        """Codes (…, D) of ids (…), ±1 in float32."""
        return self._bits(ids).float() * 2 - 1

    def nearest(self, z: Tensor) -> Tensor:
        """Ids (…) of the codes nearest to vectors (…, D) of any length."""
        return ((z > 0) * self.weights).sum(-1)

    def nearest_k(self, z: Tensor, first: Tensor, k: int) -> Tensor:
        """Ids (M, k) of the k codes nearest to vectors (M, D), `first` (M,) leading."""
        costs = (z.reshape(-1, self.dim, 1) - z.new_tensor([-1.0, 1.0])).square()
        return nearest_on_grid(list(costs.unbind(1)), self._bits(first).long(), k)

    def ranked(self, z: Tensor, first: Tensor, rank: Tensor) -> Tensor:
        """Ids (M,) of the codes of rank `rank` (M,) among those nearest to vectors (M, D), `first` (M,) being 0."""
        found, moved = first.clone(), rank.nonzero()[:, 0]
        for some in moved.split(_ROWS) if len(moved) else ():
            listed = self.nearest_k(z[some], first[some], 1 + int(rank[some].max()))
            found[some] = listed.gather(1, rank[some, None])[:, 0]
        return found

    def _bits(self, ids: Tensor) -> Tensor:
        return (ids[..., None] & self.weights) != 0
