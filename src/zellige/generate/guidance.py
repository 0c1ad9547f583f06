"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598), its strength scheduled over the sampling.

Legend: B samples, … further axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zellige.core.errors import UsageError, nearest

SCHEDULES = ("constant", "linear", "half-linear", "cosine", "power-cosine")


@dataclass(frozen=True)
class Guidance:
    """``null + w · (conditional - null)``, with w = base + (scale - base) · g(progress), progress from 0 to 1.

    g is 1 (``constant``), progress (``linear``), twice that up to 1 (``half-linear``), ½ - ½ cos(π · progress)
    (``cosine``), or the same of progress to the `power` (``power-cosine``; power 0 is constant).
    Whoever writes guidance as ``c + t · (c - null)`` has the scale 1 + t.

    Attributes:
        scale: 1 for no guidance, 0 for no condition.
        schedule: one of `SCHEDULES`.
        power: of ``power-cosine``.
        interval: the range of progress, ends included, in which there is guidance.
        base: w where a schedule begins.
        ahead: added to the progress in g, for samplers that count a step as done before it is.

    Raises `UsageError` for a negative scale or an unknown schedule.
    """

    scale: float = 1.0
    schedule: str = "constant"
    power: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    base: float = 1.0
    ahead: float = 0.0

    def __post_init__(self) -> None:
        if not self.scale >= 0 or math.isinf(self.scale):
            raise UsageError(f"guidance is a number from 0 up, 1 for none; got {self.scale}")
        if self.schedule not in SCHEDULES:
            raise nearest(self.schedule, list(SCHEDULES), "guidance schedule")
        if not self.power >= 0:
            raise UsageError(f"the power of a guidance schedule is a number from 0 up; got {self.power}")
        if not self.interval[0] <= self.interval[1]:
            raise UsageError(f"a guidance interval is (from, to) with from <= to; got {self.interval}")

    @property
    def active(self) -> bool:
        """Whether the network is needed without condition too."""
        return self.scale != 1

    def at(self, progress: float) -> float:
        """w; 1 outside of the interval."""
        if not self.interval[0] <= progress <= self.interval[1]:
            return 1.0
        progress = progress + self.ahead
        shape = {
            "constant": 1.0,
            "linear": progress,
            "half-linear": min(1.0, 2 * progress),
            "cosine": 0.5 - 0.5 * math.cos(math.pi * progress),
            "power-cosine": 0.5 - 0.5 * math.cos(math.pi * progress**self.power),
        }[self.schedule]
        return self.base + (self.scale - self.base) * shape

    def combine(self, both: Tensor, progress: float) -> Tensor:
        """Outputs (2B, …) of the network, the conditional half first, to the guided (B, …); (B, …) if not active."""
        if not self.active:
            return both
        conditional, null = both.chunk(2)
        weight = self.at(progress)
        return conditional if weight == 1 else null + weight * (conditional - null)

    def double(self, x: Tensor) -> Tensor:
        """(B, …) once for each half: (2B, …); as it is if not active."""
        return torch.cat([x, x]) if self.active else x
