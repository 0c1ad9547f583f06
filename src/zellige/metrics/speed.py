"""Throughput: images and megapixels a second of wall time, on a named machine."""

from __future__ import annotations

from typing import Self

from zellige.core.errors import ZelligeError
from zellige.metrics.base import Metric
from zellige.metrics.protocol import Measurement, Protocol


class Throughput(Metric):
    """Images and pixels through one function over the seconds they took.

    The caller times it, warm, with the device synchronized on both sides (`zellige.evaluate`
    does); `merge` adds seconds, so workers that run side by side are merged as if one after another.

    Args:
        task: what ran: ``encode``, ``decode``.
        conditions: hardware, threads, precision and batch size, which the figure depends on.
    """

    def __init__(self, task: str, conditions: str) -> None:
        self.task, self.conditions = task, conditions
        self.images, self.pixels, self.seconds = 0, 0, 0.0

    def update(self, images: int, height: int, width: int, seconds: float) -> None:
        """Add a batch of images of one size, and the seconds it took."""
        self.images += images
        self.pixels += images * height * width
        self.seconds += seconds

    def compute(self) -> tuple[Measurement, ...]:
        if not self.seconds:
            raise ZelligeError(f"nothing was timed, so there is no {self.task} throughput to report")

        def measurement(amount: float, unit: str) -> Measurement:
            definition = "wall time after a warm-up, without reading and writing files"
            protocol = Protocol(
                f"{self.task} speed", unit, definition, unit=unit, samples=self.images, conditions=self.conditions
            )
            return Measurement(amount / self.seconds, protocol)

        return (measurement(self.images, "images/s"), measurement(self.pixels / 1e6, "MP/s"))

    def merge(self, other: Self) -> None:
        self.images += other.images
        self.pixels += other.pixels
        self.seconds += other.seconds
