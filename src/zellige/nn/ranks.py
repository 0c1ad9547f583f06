"""Processes that train together: sums over them, and the batches of all.

Without `torch.distributed`, or with one process, each is the identity of its name. With several,
the results are those of one process that sees the batches of all ranks, one after the other.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Processes that train together, 1 without `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_ranks(x: Tensor) -> Tensor:
    """`x` summed over the ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def from_rank_zero(x: Tensor) -> Tensor:
    """`x` of rank 0 on every rank, in place."""
    if world_size() > 1:
        dist.broadcast(x, src=0)
    return x


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all ranks, (B, …) of each to (ranks · B, …); gradients return to the rank they concern.

    A loss of all rows, computed on every rank and averaged by data parallelism, has the gradient that
    one process would have. All ranks must hold equally many rows.
    """
    return _GatherRows.apply(x) if world_size() > 1 else x


def sample_rows(z: Tensor, count: int) -> Tensor:
    """`count` random rows of the vectors of all ranks, the same ones on every rank.

    Rank 0 draws from the global generator; each row travels from the rank that has it.

    Args:
        z: (M, D) vectors of this rank; M may differ between ranks.
        count: rows wanted. Up to the total no row is drawn twice.

    Returns:
        (count, D).
    """
    sizes = z.new_zeros(world_size(), dtype=torch.long)
    rank = dist.get_rank() if world_size() > 1 else 0
    sizes[rank] = len(z)
    total = int(sum_ranks(sizes).sum())
    drawn = torch.randperm(total)[:count] if count <= total else torch.randint(total, (count,))
    local = from_rank_zero(drawn.to(z.device)) - sizes[:rank].sum()
    own = (local >= 0) & (local < len(z))
    rows = z.new_zeros(count, z.shape[1])
    rows[own] = z[local[own]]
    return sum_ranks(rows)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = sum_ranks(gradients[0].clone(memory_format=torch.contiguous_format))
        return total.chunk(world_size())[dist.get_rank()]
