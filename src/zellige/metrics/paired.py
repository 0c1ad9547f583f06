"""PSNR: a reference image against its reconstruction, pixel by pixel.

Legend: B images, H W pixels.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from zellige.core.errors import nearest
from zellige.metrics.base import PairedMetric, PerImageMetric, Rounding
from zellige.metrics.protocol import Measurement, Protocol


class PSNR(PerImageMetric):
    """Peak signal-to-noise ratio, 10 log10(1 / MSE) of each image, then the mean; ∞ for identical images.

    Args:
        convention: ``piq`` adds 1e-8 to the MSE; ``omnitokenizer`` gives 100 dB for an MSE under 1e-10.
    """

    conventions = ("", "piq", "omnitokenizer")

    def __init__(self, rounding: Rounding = "uint8", convention: str = "") -> None:
        super().__init__(rounding)
        if convention not in self.conventions:
            raise nearest(convention, list(self.conventions[1:]), "PSNR convention")
        self.convention = convention

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        mse = mse_per_image(self.unit_range(reference), self.unit_range(output))
        if self.convention == "omnitokenizer":
            mse = torch.where(mse < 1e-10, 1e-10, mse)
        return -10 * (mse + 1e-8 if self.convention == "piq" else mse).log10()

    @property
    def protocol(self) -> Protocol:
        definition = "10 log₁₀(1/MSE) of each image, then the mean"
        return _psnr_protocol(self.convention, definition, self.rounding, self.mean.count)


class PooledPSNR(PairedMetric):
    """PSNR of the mean squared error over the whole set, as torchmetrics has it. Never above `PSNR`'s mean."""

    def __init__(self, rounding: Rounding = "uint8") -> None:
        super().__init__(rounding)
        self.squares, self.values, self.count = 0.0, 0, 0

    @property
    def protocol(self) -> Protocol:
        return _psnr_protocol("pooled", "10 log₁₀(1/MSE), MSE over all pixels of the set", self.rounding, self.count)

    def update(self, reference: Tensor, output: Tensor) -> None:
        mse = mse_per_image(self.unit_range(reference), self.unit_range(output))
        self.squares += mse.sum().item() * reference[0].numel()
        self.values += reference.numel()
        self.count += len(reference)

    def compute(self) -> tuple[Measurement, ...]:
        mse = self.squares / self.values if self.values else math.nan
        value = -10 * math.log10(mse) if mse else math.inf
        return (Measurement(value, self.protocol),)

    def merge(self, other: Self) -> None:
        self.squares += other.squares
        self.values += other.values
        self.count += other.count


def mse_per_image(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each image: (B, …) twice to float64 (B,)."""
    return (x - y).square().flatten(1).mean(1, dtype=torch.float64)


def _psnr_protocol(variant: str, definition: str, rounding: Rounding, samples: int) -> Protocol:
    return Protocol("PSNR", variant, definition, unit="dB", data_range="[0, 1]", rounding=rounding, samples=samples)
