"""Nearest codes of implicit codebooks, which are grids: every dimension has its own few levels.

The squared distance to a code is a sum over dimensions, so the k best codes are found by merging
the dimensions one by one and keeping the k best partial sums. That is exact (a partial sum outside
the k best cannot end inside) and never lists the codebook, which may hold 2^36 codes.

Legend: M vectors, L levels of one dimension, R partial sums kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zellige.core.errors import UsageError

_CHUNK = 2**22
"""Partial sums held at once."""


def check_k(k: int, size: int) -> None:
    """Raises `UsageError` unless 1 ≤ `k` ≤ `size`."""
    if not 1 <= k <= size:
        raise UsageError(f"cannot give k={k} neighbours in a codebook of {size} codes; k is 1 to {size}")


def nearest_on_grid(costs: list[Tensor], first: Tensor, k: int) -> Tensor:
    """The k codes of smallest total cost, cheapest first.

    Args:
        costs: (M, L_d) for each dimension d, the squared distance to each of its levels.
        first: int64 (M, D), the level the quantizer picks in each dimension. It must be a cheapest one;
            it wins ties, so that entry 0 of the result is the code of `encode`.
        k: how many, 1 to the product of all L_d.

    Returns:
        int64 (M, k), ids in mixed radix, the first dimension fastest.
    """
    sizes = [cost.shape[1] for cost in costs]
    check_k(k, math.prod(sizes))
    rows = max(1, _CHUNK // (k * max(sizes)))
    chunks = zip(zip(*(cost.split(rows) for cost in costs), strict=True), first.split(rows), strict=True)
    return torch.cat([_merge(list(chunk), levels, k) for chunk, levels in chunks])


def _merge(costs: list[Tensor], first: Tensor, k: int) -> Tensor:
    sums = costs[0].new_zeros(len(first), 1)
    ids = first.new_zeros(len(first), 1)
    stride = 1
    for dim, cost in enumerate(costs):
        # Costs relative to the chosen level start every sum at exactly 0, and a stable sort keeps it there.
        chosen = first[:, dim, None]
        extra = (cost - cost.gather(1, chosen)).clamp(min=0).scatter(1, chosen, -1.0)
        extra, levels = extra.sort(dim=1, stable=True)
        extra = extra.clamp(min=0)[:, :k]
        # Both are sorted, so the pair (r, l) comes after the (r+1)·(l+1) - 1 pairs before it on both sides.
        pairs = torch.ones(sums.shape[1], extra.shape[1], device=sums.device).cumsum(0).cumsum(1) <= k
        left, right = pairs.nonzero(as_tuple=True)
        merged = sums[:, left] + extra[:, right]
        merged_ids = ids[:, left] + stride * levels[:, right]
        order = merged.argsort(dim=1, stable=True)[:, :k]
        sums, ids = merged.gather(1, order), merged_ids.gather(1, order)
        stride *= cost.shape[1]
    return ids
