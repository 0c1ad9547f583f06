"""Rate and distortion of a tokenizer beside image codecs, over the same images.

The claim that tokens may make is quality at few bytes, so this reports where they lose too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from zellige.core.pixels import from_uint8
from zellige.evaluate.codecs import Codec, available, storable, sweep
from zellige.evaluate.result import Comparison, RateCurve, RateDistortion, RatePoint
from zellige.metrics import PSNR, SSIM, BitsPerPixel, Measurement, PerImageMetric
from zellige.metrics.base import RunningMean


class RateStudy:
    """Collects the points of a tokenizer and of the codecs, image by image; keeps running sums only.

    Args:
        limit: images taken in; the rest of a large set is not compressed, which would take longest.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.count = limit, 0
        self.codecs = available()
        self.points = {(c.name, q): _Point(f"{c.name} file") for c in self.codecs for q in c.qualities}
        self.own: dict[str, _Point] = {}
        self.matches = {c.name: _Match() for c in self.codecs}

    def add(self, picture: np.ndarray, reconstruction: Tensor, bits: Mapping[str, float]) -> None:
        """Add an image that the tokenizer stored; one that a codec cannot store is left out of all curves.

        Args:
            picture: uint8 (H, W, 3).
            reconstruction: pixels (1, 3, H, W) in [-1, 1].
            bits: way of counting → bits of the image; the last one is compared with the codecs.
        """
        if self.count >= self.limit or not storable(picture):
            return
        self.count += 1
        reference = from_uint8(picture)
        psnr = 0.0
        for coding, amount in bits.items():
            psnr = self.own.setdefault(coding, _Point(coding)).add(reference, reconstruction.cpu(), amount)
        *_, compared = bits.values()
        curves: dict[str, list[tuple[float, float]]] = {}
        for f in sweep(picture, self.codecs, torch.get_num_threads()):
            quality = self.points[f.codec.name, f.quality].add(reference, from_uint8(f.decoded), 8 * f.size)
            curves.setdefault(f.codec.name, []).append((8 * f.size, quality))
        for name, curve in curves.items():
            self.matches[name].add(curve, compared, psnr)

    def result(self, reference: str) -> RateDistortion | None:
        """The study over the set called `reference`; None if no image was taken in."""
        if not self.count:
            return None
        own = tuple(point.result(coding, reference) for coding, point in self.own.items())
        curves = tuple(self._curve(codec, reference) for codec in self.codecs)
        psnr = own[0].quality["psnr"]
        comparisons = tuple(match.result(name, psnr) for name, match in self.matches.items())
        return RateDistortion(own, curves, comparisons, self.count)

    def _curve(self, codec: Codec, reference: str) -> RateCurve:
        points = [self.points[codec.name, q].result(f"quality {q}", reference) for q in codec.qualities]
        return RateCurve(codec.name, codec.settings, tuple(sorted(points, key=lambda p: p.rate.value)))


class _Point:
    """Running means of one setting."""

    def __init__(self, coding: str) -> None:
        self.rate = BitsPerPixel(coding)
        self.metrics: tuple[PerImageMetric, ...] = (PSNR(), SSIM())

    def add(self, reference: Tensor, output: Tensor, bits: float) -> float:
        """Add an image; returns its PSNR."""
        self.rate.update(bits, *reference.shape[-2:])
        psnr, _ = (metric.update(reference, output).item() for metric in self.metrics)
        return psnr

    def result(self, setting: str, reference: str) -> RatePoint:
        measured = [m.on(reference=reference) for metric in self.metrics if metric.mean.count for m in metric.compute()]
        (rate,) = self.rate.compute()
        return RatePoint(setting, rate.on(reference=reference), {m.protocol.key: m for m in measured})


class _Match:
    """A codec's PSNR at the tokenizer's bytes, over the images where its files come that small and that large."""

    def __init__(self) -> None:
        self.codec, self.tokenizer = RunningMean(), RunningMean()
        self.below, self.above = 0, 0

    def add(self, curve: Sequence[tuple[float, float]], bits: float, psnr: float) -> None:
        sizes, qualities = zip(*sorted(curve), strict=True)
        if bits < sizes[0]:
            self.below += 1
        elif bits > sizes[-1]:
            self.above += 1
        else:
            at = float(np.interp(math.log(bits), np.log(sizes), qualities))
            if math.isfinite(at) and math.isfinite(psnr):  # a lossless image has no PSNR to compare
                self.codec.update(torch.tensor(at))
                self.tokenizer.update(torch.tensor(psnr))

    def result(self, codec: str, psnr: Measurement) -> Comparison:
        def measured(mean: RunningMean, conditions: str) -> Measurement | None:
            if not mean.count:
                return None
            measurement = Measurement(mean.value(), psnr.protocol, mean.spread())
            return measurement.on(variant="at equal bytes", samples=mean.count, conditions=conditions)

        interpolated = (
            f"images where {codec} reaches the tokenizer's bytes; {codec} linear in log bytes between qualities"
        )
        return Comparison(
            codec, measured(self.codec, interpolated), measured(self.tokenizer, interpolated), self.below, self.above
        )
