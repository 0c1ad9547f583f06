"""Interpolation of a few points of a smooth curve, as piecewise cubics that can be integrated exactly.

Legend: P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PiecewiseCubic:
    """Cubics between neighbouring knots, from values and slopes at the knots.

    Attributes:
        x: knots, strictly ascending, (P,).
        y: values at the knots, (P,).
        slopes: derivatives at the knots, (P,).
    """

    x: np.ndarray
    y: np.ndarray
    slopes: np.ndarray

    def integral(self, low: float, high: float) -> float:
        """Over [low, high], which must lie between the first knot and the last."""
        total = 0.0
        for i, (left, right) in enumerate(zip(self.x[:-1], self.x[1:], strict=True)):
            start, end = max(low, left), min(high, right)
            if start < end:
                antiderivative = self._piece(i).integ()
                total += antiderivative(end - left) - antiderivative(start - left)
        return float(total)

    def _piece(self, i: int) -> np.polynomial.Polynomial:
        """The Hermite cubic of interval i, in the distance from its left knot."""
        h = self.x[i + 1] - self.x[i]
        secant = (self.y[i + 1] - self.y[i]) / h
        d0, d1 = self.slopes[i], self.slopes[i + 1]
        return np.polynomial.Polynomial([self.y[i], d0, (3 * secant - 2 * d0 - d1) / h, (d0 + d1 - 2 * secant) / h**2])


def pchip(x: np.ndarray, y: np.ndarray) -> PiecewiseCubic:
    """Monotone where the points are (Fritsch and Butland 1984): harmonic means of the secants, 0 at extrema."""
    h, secants = np.diff(x), np.diff(y) / np.diff(x)
    if len(x) == 2:
        return PiecewiseCubic(x, y, np.repeat(secants, 2))
    before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    alike = secants[:-1] * secants[1:] > 0
    left, right = np.where(alike, secants[:-1], 1.0), np.where(alike, secants[1:], 1.0)
    inner = np.where(alike, (before + after) * left * right / (before * right + after * left), 0.0)
    first = _end_slope(h[0], h[1], secants[0], secants[1])
    last = _end_slope(h[-1], h[-2], secants[-1], secants[-2])
    return PiecewiseCubic(x, y, np.concatenate([[first], inner, [last]]))


def akima(x: np.ndarray, y: np.ndarray) -> PiecewiseCubic:
    """Slopes weighted towards the side where the secants change less (Akima 1970)."""
    secants = np.diff(y) / np.diff(x)
    if len(x) == 2:
        return PiecewiseCubic(x, y, np.repeat(secants, 2))
    before = [3 * secants[0] - 2 * secants[1], 2 * secants[0] - secants[1]]
    after = [2 * secants[-1] - secants[-2], 3 * secants[-1] - 2 * secants[-2]]
    m = np.concatenate([before, secants, after])
    change = np.abs(np.diff(m))
    right, left = change[2:], change[:-2]
    total = left + right
    bent = total > 1e-9 * total.max(initial=0.0)
    weighted = right * m[1:-2] + left * m[2:-1]
    slopes = np.where(bent, weighted / np.where(bent, total, 1.0), (m[3:] + m[:-3]) / 2)
    return PiecewiseCubic(x, y, slopes)


def _end_slope(h0: float, h1: float, near: float, far: float) -> float:
    """One-sided slope at an end, held back so that the curve does not overshoot."""
    slope = ((2 * h0 + h1) * near - h0 * far) / (h0 + h1)
    if slope * near <= 0:
        return 0.0
    return 3 * near if near * far <= 0 and abs(slope) > 3 * abs(near) else float(slope)
