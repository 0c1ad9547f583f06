"""Normalisation in discriminators.

Legend: B samples, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.core.errors import nearest
from zellige.nn.precision import at_least_float32
from zellige.nn.ranks import sum_ranks

NORMS = ("batch", "group", "act", "none")


class ActNorm(nn.Module):
    """A scale and a shift a channel that make the first training batch zero-mean and unit-variance (arXiv:1807.03039).

    After that they are ordinary parameters, so samples do not depend on each other. The first batch is that of
    all ranks.
    """

    started: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.started:
            self._start(x)
        shape = (-1, *(1,) * (x.ndim - 2))
        return (x + self.shift.view(shape)) * self.scale.view(shape)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        rows = x.transpose(0, 1).flatten(1).double()  # (C, B · positions)
        count = rows.new_full((len(rows),), rows.shape[1])
        total, squares, count = sum_ranks(torch.stack([rows.sum(1), rows.square().sum(1), count]))
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.shift.copy_(-mean)
        self.scale.copy_(1 / (deviation + 1e-6))
        self.started.fill_(True)


class GroupedBatchNorm(nn.Module):
    """Batch norm over groups of `size` samples, in training and in evaluation: it keeps no statistics.

    Large batches then behave like small ones. (B, C, N) to the same; B is at most `size`, or a multiple of it.
    """

    def __init__(self, channels: int, size: int = 8, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.size, self.eps = size, eps

    def forward(self, x: Tensor) -> Tensor:
        b, c, n = x.shape
        groups = -(-b // self.size)
        if b % groups:
            raise ValueError(f"a batch of {b} does not split into equal groups of at most {self.size} samples")
        x = at_least_float32(x).reshape(groups, -1, c, n)
        variance, mean = torch.var_mean(x, dim=(1, 3), keepdim=True, correction=0)
        x = ((x - mean) / (variance + self.eps).sqrt()).view(b, c, n)
        return x * self.weight[:, None] + self.bias[:, None]


def make_norm(kind: str, channels: int) -> nn.Module:
    """One of `NORMS`: ``batch``, ``group`` (32 groups at most), ``act`` or ``none``.

    Batch norm makes samples, and on several ranks the processes, depend on who else is in the batch.
    """
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            return nn.GroupNorm(min(32, channels), channels, eps=1e-6)
        case "act":
            return ActNorm(channels)
        case "none":
            return nn.Identity()
    raise nearest(kind, list(NORMS), "norm of a discriminator")
