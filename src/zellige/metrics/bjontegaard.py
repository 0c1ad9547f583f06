"""Bjøntegaard deltas: the average gap between two rate–distortion curves (VCEG-M33, 2001).

Legend: P points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zellige.core.errors import UsageError
from zellige.metrics.interpolate import akima, pchip
from zellige.metrics.protocol import Measurement, Protocol

Interpolation = Literal["cubic", "pchip", "akima"]
_INTERPOLATORS = {"pchip": pchip, "akima": akima}


@dataclass(frozen=True)
class RateCurve:
    """Points of one codec.

    Attributes:
        rate: bits per pixel or bytes, above 0, (P,).
        quality: PSNR in dB, or another measure that rises with the rate, (P,).
    """

    rate: Sequence[float] | np.ndarray
    quality: Sequence[float] | np.ndarray

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """log10 of the rate, and the quality, in the order of the quality."""
        rate, quality = np.asarray(self.rate, np.float64), np.asarray(self.quality, np.float64)
        if rate.shape != quality.shape or rate.ndim != 1 or len(rate) < 2:
            raise UsageError(f"a curve needs two or more pairs of rate and quality; got {rate.shape}, {quality.shape}")
        if not (np.isfinite(quality).all() and np.isfinite(rate).all() and (rate > 0).all()):
            raise UsageError("a curve needs finite qualities and rates above zero")
        order = np.argsort(quality)
        return np.log10(rate[order]), quality[order]


def bd_rate(anchor: RateCurve, test: RateCurve, interpolation: Interpolation = "akima") -> float:
    """Mean difference of the rate at equal quality, in percent of the anchor's: negative is cheaper."""
    (anchor_rate, anchor_quality), (test_rate, test_quality) = anchor.arrays(), test.arrays()
    gap = _mean_gap(anchor_quality, anchor_rate, test_quality, test_rate, interpolation, "quality")
    return float((10**gap - 1) * 100)


def bd_quality(anchor: RateCurve, test: RateCurve, interpolation: Interpolation = "akima") -> float:
    """Mean difference of the quality at equal rate (BD-PSNR for PSNR), in its unit: positive is better."""
    (anchor_rate, anchor_quality), (test_rate, test_quality) = anchor.arrays(), test.arrays()
    return _mean_gap(anchor_rate, anchor_quality, test_rate, test_quality, interpolation, "rate")


def measure_gap(
    anchor: RateCurve,
    test: RateCurve,
    *,
    names: tuple[str, str],
    quality: str = "PSNR",
    unit: str = "dB",
    interpolation: Interpolation = "akima",
) -> tuple[Measurement, Measurement]:
    """BD-rate in percent and BD-PSNR (or of another `quality`, in its `unit`) of `names`: anchor, then test."""
    variant, samples = f"{names[1]} against {names[0]}", len(test.rate)
    definition = f"{interpolation} interpolation of quality over log rate, mean over the common range"
    rate = Protocol("BD-rate", variant, f"{definition} of {quality}", unit="%", samples=samples)
    gain = Protocol(f"BD-{quality}", variant, f"{definition} of rates", unit=unit, samples=samples)
    return (
        Measurement(bd_rate(anchor, test, interpolation), rate),
        Measurement(bd_quality(anchor, test, interpolation), gain),
    )


def _mean_gap(
    x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray, interpolation: Interpolation, axis: str
) -> float:
    """Mean of y₂ − y₁ over the range of x that both curves cover."""
    low, high = max(x1.min(), x2.min()), min(x1.max(), x2.max())
    if not low < high:
        raise UsageError(f"the two curves share no range of {axis}, so no Bjøntegaard delta exists")
    gap = _integral(x2, y2, low, high, interpolation) - _integral(x1, y1, low, high, interpolation)
    return gap / float(high - low)


def _integral(x: np.ndarray, y: np.ndarray, low: float, high: float, interpolation: Interpolation) -> float:
    if interpolation == "cubic":
        if len(x) < 4:
            raise UsageError(f"a cubic fit needs four points; the curve has {len(x)}")
        antiderivative = np.polynomial.Polynomial.fit(x, y, 3).integ()
        return float(antiderivative(high) - antiderivative(low))
    order = np.argsort(x)
    x, y = x[order], y[order]
    if not (np.diff(x) > 0).all():
        raise UsageError("two points of a curve have the same position, so it cannot be interpolated")
    return _INTERPOLATORS[interpolation](x, y).integral(low, high)
