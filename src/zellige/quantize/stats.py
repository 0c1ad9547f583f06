"""Usage, entropy and perplexity of one batch of ids, that of all ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from zellige.nn.ranks import gather_rows, sum_ranks
from zellige.quantize.base import usage_stats

_HISTOGRAM_LIMIT = 2**20
"""Codes up to which a full histogram is counted; beyond, only the codes that occur (FSQ, LFQ, BSQ)."""


@torch.no_grad()
def batch_stats(ids: Tensor, size: int) -> dict[str, Tensor]:
    """`usage_stats` of `ids` (any shape) in a codebook of `size`, without a histogram of huge codebooks.

    The three are those of one codebook: `usage` in [0, 1], `entropy` in bits, `perplexity` in codes. Ranks pool
    their counts, so all of them have to call it, with equally many ids.
    """
    if size <= _HISTOGRAM_LIMIT:
        return usage_stats(sum_ranks(torch.bincount(ids.flatten(), minlength=size)))
    counts = torch.unique(gather_rows(ids.flatten()), return_counts=True)[1]
    stats = usage_stats(counts)
    stats["usage"] = torch.full_like(stats["usage"], counts.numel() / size)
    return stats


@torch.no_grad()
def mean_stats(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Statistics of several sub-codebooks as one record: the mean of each."""
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
