"""Intersection over union of masks: cumulative over a set, and as the mean over its images.

Legend: N images, H W pixels, C classes.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from zellige.core.errors import UsageError, ZelligeError
from zellige.metrics.base import Metric, RunningMean
from zellige.metrics.protocol import Measurement, Protocol

IGNORE = 255
"""Target value of pixels that count for no class."""


class MaskIoU(Metric):
    """cIoU = Σ intersections / Σ unions, and gIoU = mean of each image's IoU, by class.

    A class that neither target nor prediction holds scores 1 in that image.

    Args:
        classes: 2 for binary masks: background and foreground.
        smoothing: added to the union of each image in gIoU; LISA's scripts have 1e-5.
    """

    def __init__(self, classes: int = 2, smoothing: float = 1e-5) -> None:
        self.classes, self.smoothing = classes, smoothing
        self.intersections = torch.zeros(classes, dtype=torch.float64)
        self.unions = torch.zeros(classes, dtype=torch.float64)
        self.means = [RunningMean() for _ in range(classes)]

    def update(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Add integer masks (N, H, W); returns the IoU of each image and class, float64 (N, C)."""
        if prediction.shape != target.shape or prediction.ndim != 3:
            raise UsageError(f"masks are (N, H, W) twice; got {tuple(prediction.shape)} and {tuple(target.shape)}")
        valid = target != IGNORE
        classes = torch.arange(self.classes, device=target.device)[:, None, None, None]
        predicted, wanted = (prediction == classes) & valid, (target == classes) & valid
        both = (predicted & wanted).flatten(2).sum(2).double().T.cpu()
        either = (predicted | wanted).flatten(2).sum(2).double().T.cpu()
        values = torch.where(either > 0, both / (either + self.smoothing), 1.0)
        self.intersections += both.sum(0)
        self.unions += either.sum(0)
        for mean, column in zip(self.means, values.unbind(1), strict=True):
            mean.update(column)
        return values

    def compute(self) -> tuple[Measurement, ...]:
        """cIoU of each class, then gIoU of each class."""
        samples = self.means[0].count
        if not samples:
            raise ZelligeError("no masks were measured, so there is no IoU to report")
        cumulative = self.intersections / self.unions  # NaN for a class that no image holds
        rule = f"255 ignored, {self.smoothing:g} added to unions, 1 where a class is in neither"

        def measurement(metric: str, definition: str, c: int, value: float, spread: float | None) -> Measurement:
            protocol = Protocol(metric, f"class {c} of {self.classes}", definition, samples=samples)
            return Measurement(value, protocol, spread)

        return (
            *(
                measurement("cIoU", "Σ intersections / Σ unions over the set, 255 ignored", c, value, None)
                for c, value in enumerate(cumulative.tolist())
            ),
            *(
                measurement("gIoU", f"mean over images of the IoU; {rule}", c, mean.value(), mean.spread())
                for c, mean in enumerate(self.means)
            ),
        )

    def merge(self, other: Self) -> None:
        self.intersections += other.intersections
        self.unions += other.unions
        for ours, theirs in zip(self.means, other.means, strict=True):
            ours.merge(theirs)
