"""The time of a flow or a diffusion as a vector. Legend: B samples, C channels, F frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zellige.nn.mlp import MLP


def time_waves(times: Tensor, channels: int, period: float = 10000.0) -> Tensor:
    """Cosines and then sines of times (…), float32 (…, channels), of frequencies from 1 down towards 1 / period."""
    half = channels // 2
    frequencies = torch.exp(-math.log(period) * torch.arange(half, device=times.device).float() / half)
    angles = times.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """Times in [0, 1], in whole thousandths, through waves and two layers with SiLU.

    Args:
        dim: C.
        waves: channels between time and layers, an even number.
    """

    def __init__(self, dim: int, waves: int = 256) -> None:
        super().__init__()
        self.waves = waves
        self.mlp = MLP(waves, dim, dim, activation="silu")

    def forward(self, times: Tensor) -> Tensor:
        """Float32 (…) to (…, C); 0.0019 is one thousandth, as the released models have it."""
        thousandths = (times * 1000).long()
        return self.mlp(time_waves(thousandths, self.waves).to(self.mlp.up.weight.dtype))
