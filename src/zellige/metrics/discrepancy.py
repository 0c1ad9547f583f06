"""Maximum mean discrepancy between two sets of features: KID, CMMD.

    MMD² = mean k(x, x′) + mean k(y, y′) − 2 mean k(x, y)

Legend: N M samples, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.metrics.protocol import Measurement, Protocol

Kernel = Callable[[Tensor, Tensor], Tensor]
Estimator = Literal["biased", "unbiased", "u-statistic"]


def polynomial_kernel(x: Tensor, y: Tensor, degree: int = 3) -> Tensor:
    """(x·y / D + 1)^degree: (N, D), (M, D) to (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** degree


def gaussian_kernel(x: Tensor, y: Tensor, sigma: float = 10.0) -> Tensor:
    """exp(−|x − y|² / 2σ²): (N, D), (M, D) to (N, M)."""
    distances = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return (-distances / (2 * sigma**2)).exp()


def squared_mmd(x: Tensor, y: Tensor, kernel: Kernel = polynomial_kernel, estimator: Estimator = "unbiased") -> float:
    """MMD² of (N, D) and (M, D) features, in float64 (Gretton et al. 2012).

    Args:
        estimator: ``biased`` (all pairs), ``unbiased`` (no sample with itself; may be negative), or
            ``u-statistic`` (nor xᵢ with yᵢ; equal counts only).
    """
    n, m = len(x), len(y)
    if min(n, m) < 2 or x.shape[1:] != y.shape[1:] or (estimator == "u-statistic" and n != m):
        raise UsageError(f"no {estimator} MMD between features {tuple(x.shape)} and {tuple(y.shape)}")
    x, y = x.double(), y.double()
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    if estimator == "biased":
        return (xx.mean() + yy.mean() - 2 * xy.mean()).item()
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    between = xy.mean() if estimator == "unbiased" else (xy.sum() - xy.trace()) / (n * (n - 1))
    return (within - 2 * between).item()


@dataclass(frozen=True)
class KIDSubsets:
    """Which subsets a kernel distance is averaged over.

    Attributes:
        count: number of subsets.
        size: samples of either set in each; all of the smaller set if it has fewer.
        seed: of NumPy's legacy generator, which the published numbers are drawn with.
        second_first: draw from the second set before the first, as clean-fid does; torch-fidelity
            draws from the first set first.
    """

    count: int = 100
    size: int = 1000
    seed: int = 2020
    second_first: bool = False

    def draw(self, n: int, m: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices into the first set of `n` and into the second of `m`, without replacement."""
        rng = np.random.RandomState(self.seed)
        size = min(self.size, n, m)
        for _ in range(self.count):
            if self.second_first:
                second = rng.choice(m, size, replace=False)
                yield rng.choice(n, size, replace=False), second
            else:
                yield rng.choice(n, size, replace=False), rng.choice(m, size, replace=False)


def kernel_distance(first: Tensor, second: Tensor, subsets: KIDSubsets | None = None) -> tuple[float, float]:
    """Kernel Inception Distance (arXiv 1801.01401) of (N, D) and (M, D) features: mean and deviation over subsets.

    Unbiased, so numbers of unlike counts compare; often quoted times 1,000.
    """
    pairs = (subsets or KIDSubsets()).draw(len(first), len(second))
    values = [squared_mmd(first[torch.from_numpy(i)], second[torch.from_numpy(j)]) for i, j in pairs]
    return float(np.mean(values)), float(np.std(values))


def cmmd(first: Tensor, second: Tensor, sigma: float = 10.0) -> float:
    """1000 · biased MMD² of unit-norm embeddings under a Gaussian kernel (arXiv 2401.09603).

    The published numbers embed by CLIP ViT-L/14-336. The embeddings must have unit norm already.
    """
    return 1000 * squared_mmd(first, second, lambda x, y: gaussian_kernel(x, y, sigma), "biased")


def measure_cmmd(first: Tensor, second: Tensor, *, network: str, fingerprint: str = "") -> Measurement:
    """`cmmd` with its record. Args: the embedding `network`, and what identifies its weights."""
    protocol = Protocol(
        "CMMD",
        "",
        "1000 · biased MMD², Gaussian kernel, σ 10, unit-norm embeddings",
        samples=len(second),
        network=network,
        network_hash=fingerprint,
        conditions="" if len(first) == len(second) else f"{len(first)} references",
    )
    return Measurement(cmmd(first, second), protocol)
