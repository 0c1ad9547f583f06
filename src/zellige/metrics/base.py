"""What every metric offers: `update` as data streams by, `merge` across workers, `compute` at the end.

A metric keeps running sums, never the data: its memory does not grow with the set.
Legend: B samples, H W pixels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, Self

import torch
from torch import Tensor

from zellige.core.errors import ZelligeError
from zellige.metrics.protocol import Measurement, Protocol

Rounding = Literal["uint8", "float"]


class Metric(ABC):
    """One metric over one set. Each family adds its own `update`."""

    @abstractmethod
    def compute(self) -> tuple[Measurement, ...]:
        """The numbers so far. `ZelligeError` if nothing was measured yet."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add what another worker has seen; any order gives the same result."""


class PairedMetric(Metric):
    """A metric of a reference image and its reconstruction. Subclasses see pixels in [0, 1].

    Args:
        rounding: ``uint8`` measures what a saved file holds, ``float`` what the decoder gave.
    """

    def __init__(self, rounding: Rounding = "uint8") -> None:
        self.rounding = rounding

    @property
    @abstractmethod
    def protocol(self) -> Protocol:
        """How the figure is measured, with the samples so far."""

    @abstractmethod
    def update(self, reference: Tensor, output: Tensor) -> Tensor | None:
        """Add a batch of pairs, float (B, 3, H, W) in [-1, 1]; returns a value an image, (B,), if there are such."""

    def unit_range(self, x: Tensor) -> Tensor:
        """Pixels in [-1, 1] as the values measured on: clamped, in [0, 1], in steps of 1/255 for ``uint8``."""
        x = (x.detach().clamp(-1, 1) + 1) / 2
        return (x * 255).round() / 255 if self.rounding == "uint8" else x


class PerImageMetric(PairedMetric):
    """A paired metric whose figure for a set is the mean over its images.

    Subclasses implement `per_image` and `protocol`. An image that the metric is not defined for
    (too small, say) gets NaN and is left out; `samples` of the protocol counts the rest.
    """

    def __init__(self, rounding: Rounding = "uint8") -> None:
        super().__init__(rounding)
        self.mean = RunningMean()

    @abstractmethod
    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        """One value an image, (B,), of pixels (B, 3, H, W) in [-1, 1]."""

    def update(self, reference: Tensor, output: Tensor) -> Tensor:
        values = self.per_image(reference, output)
        self.mean.update(values)
        return values

    def compute(self) -> tuple[Measurement, ...]:
        return (Measurement(self.mean.value(), self.protocol, self.mean.spread()),)

    def merge(self, other: Self) -> None:
        self.mean.merge(other.mean)


class RunningMean:
    """Mean and standard deviation of a stream in float64 (Chan, Golub, LeVeque 1983). NaN is left out."""

    def __init__(self) -> None:
        self.count, self._mean, self._squares = 0, 0.0, 0.0

    def update(self, values: Tensor) -> None:
        """Add values of any shape."""
        v = values.detach().to("cpu", torch.float64).flatten()
        v = v[~v.isnan()]
        if v.numel():
            mean = v.mean()
            self._add(v.numel(), mean.item(), (v - mean).square().sum().item())

    def merge(self, other: RunningMean) -> None:
        """Add all that `other` has seen."""
        if other.count:
            self._add(other.count, other._mean, other._squares)

    def value(self) -> float:
        """The mean. `ZelligeError` if there is none yet."""
        if not self.count:
            raise ZelligeError("nothing was measured: no image could be read, or none is large enough for this metric")
        return self._mean

    def spread(self) -> float | None:
        """Standard deviation over the samples; None for fewer than two, or if one is infinite."""
        deviation = math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else math.nan
        return deviation if math.isfinite(deviation) else None

    def _add(self, count: int, mean: float, squares: float) -> None:
        total = self.count + count
        difference = mean - self._mean
        self._squares += squares + difference**2 * self.count * count / total
        # Written so that an infinite value (the PSNR of a lossless image) gives an infinite mean, not NaN.
        self._mean = (self._mean * self.count + mean * count) / total
        self.count = total
