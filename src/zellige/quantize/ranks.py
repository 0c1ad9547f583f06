"""What keeps the codebooks of several processes equal: samples of everyone's vectors.

Legend: M vectors of this rank, D dimensions.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from zellige.nn.ranks import from_rank_zero, sum_ranks, world_size


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
