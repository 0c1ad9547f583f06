"""What the processes of a run decide together, so that all go the same way."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.ranks import sum_ranks, world_size

SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron",
}
"""Variables by which `accelerate launch` asks for weights divided among processes."""


def refuse_other_sharding() -> None:
    """Raise `UsageError` if the processes were launched to divide the weights by something that is not used here.

    Without GPUs accelerate (1.15) would leave them whole without a word.
    """
    for variable, name in SHARDING.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise UsageError(
                f"weights are divided by the recipe, not by {name}: launch with --multi_gpu and set shard=true, "
                "and on CPUs with ACCELERATE_USE_CPU=true"
            )


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is set on any process."""
    return flag if world_size() == 1 else bool(sum_ranks(torch.tensor(float(flag), device=device)) > 0)


def rank_means(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars, averaged over the processes; all hold the same names."""
    stacked = torch.stack([value.detach().double().reshape(()) for value in values.values()])
    return dict(zip(values, (sum_ranks(stacked) / world_size()).tolist(), strict=True))
