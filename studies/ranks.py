"""How alike two orders are: rank correlations, what chance makes of them, and how far a few things settle them.

Legend: R resamples, n things that are ranked.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from studies.common import CONFIDENCE

RESAMPLES = 10_000
Correlation = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of values (…, n) and (…, n); no number where one of them is all the same."""


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (…, n) from 1 up; equal values share the mean of theirs."""
    below = values[..., :, None] > values[..., None, :]
    equal = values[..., :, None] == values[..., None, :]
    return below.sum(-1) + (equal.sum(-1) + 1) / 2


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks of x and y, (…, n) each."""
    x, y = (ranks(values) - (values.shape[-1] + 1) / 2 for values in (x, y))  # the mean rank is the same with ties
    return _ratio((x * y).sum(-1), (x**2).sum(-1), (y**2).sum(-1))


def kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall's τ_b: pairs in the same order less those in the other one, of x and y, (…, n) each."""
    x, y = (np.sign(values[..., :, None] - values[..., None, :]) for values in (x, y))
    return _ratio((x * y).sum((-1, -2)), (x**2).sum((-1, -2)), (y**2).sum((-1, -2)))


def chance(x: np.ndarray, y: np.ndarray, correlation: Correlation = spearman) -> float:
    """How often a random order of y (n,) is correlated with x (n,), to either side, at least as much as y is.

    The share of `RESAMPLES` permutations with a fixed seed, in which the given order counts as one.
    """
    shuffled = np.random.default_rng(0).permuted(np.tile(y, (RESAMPLES, 1)), axis=1)
    found = np.abs(correlation(np.broadcast_to(x, shuffled.shape), shuffled))
    least = abs(float(correlation(x, y))) - 1e-9
    return math.nan if math.isnan(least) else (1 + int((found >= least).sum())) / (1 + RESAMPLES)


def bootstrap(*values: np.ndarray, of: Callable[..., np.ndarray]) -> tuple[float, float]:
    """The interval of a figure of several lists (n,), over things drawn again with replacement.

    Args:
        of: the figure (R,) of lists (R, n).

    Returns:
        The percentiles that hold `CONFIDENCE` of `RESAMPLES` draws with a fixed seed. Draws that give no number, which
        few things do at times, are left out.
    """
    n = len(values[0])
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    found = of(*(listed[drawn] for listed in values))
    found = found[np.isfinite(found)]
    if not len(found):
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _ratio(both: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """both / √(first · second), no number where that is 0."""
    product = np.asarray(first * second, float)
    return np.divide(both, np.sqrt(product), out=np.full(product.shape, math.nan), where=product > 0)
