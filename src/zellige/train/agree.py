"""What the processes of a run decide together, so that all go the same way."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zellige.nn.ranks import sum_ranks, world_size


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is set on any process."""
    return flag if world_size() == 1 else bool(sum_ranks(torch.tensor(float(flag), device=device)) > 0)


def rank_means(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars, averaged over the processes; all hold the same names."""
    stacked = torch.stack([value.detach().double().reshape(()) for value in values.values()])
    return dict(zip(values, (sum_ranks(stacked) / world_size()).tolist(), strict=True))
