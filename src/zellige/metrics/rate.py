"""Rate: bits a pixel, at fixed length or as measured in bytes."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from zellige.metrics.base import Metric, RunningMean
from zellige.metrics.protocol import Measurement, Protocol

FIXED_LENGTH = "fixed length"


class BitsPerPixel(Metric):
    """Bits of an image over its own pixels (padding not counted as pixels), then the mean over images.

    Args:
        coding: what was counted: ``fixed length`` (tokens · log2 K, `Tokens.bits`), or the name of a
            file format whose bytes were measured, headers included. The network, which both sides
            hold, is never counted.
    """

    def __init__(self, coding: str = FIXED_LENGTH) -> None:
        self.coding = coding
        self.mean = RunningMean()

    def update(self, bits: Tensor | float, height: int, width: int) -> None:
        """Add images of one size: bits of each, (B,) or a number."""
        self.mean.update(torch.as_tensor(bits, dtype=torch.float64) / (height * width))

    @property
    def protocol(self) -> Protocol:
        """How the figure is measured, with the samples so far."""
        bits = "tokens · log₂ K" if self.coding == FIXED_LENGTH else "8 · file bytes, headers included,"
        return Protocol(
            "bits per pixel",
            self.coding,
            f"{bits} / (W · H) of each image, then the mean",
            unit="bpp",
            samples=self.mean.count,
        )

    def compute(self) -> tuple[Measurement, ...]:
        return (Measurement(self.mean.value(), self.protocol, self.mean.spread()),)

    def merge(self, other: Self) -> None:
        self.mean.merge(other.mean)
