"""Row 9: the Fréchet distance of given statistics, 2,048 dimensions, float64, against roots of matrices."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch

from benchmarks.harness import Bench, Peer, require
from zellige.metrics.frechet import FeatureStatistics, frechet_distance

DIM, SAMPLES = 2048, 5000


def run(bench: Bench) -> None:
    """Compare with scipy's root, as pytorch-fid and clean-fid take it, and with eigenvalues, as torch-fidelity does."""
    torch.manual_seed(0)
    first, second = _statistics(0.0), _statistics(0.1)
    ours = frechet_distance(first, second)
    roots = (by_square_root, by_eigenvalues)
    for root in roots:
        theirs = root(first, second)
        require(abs(ours - theirs) <= 1e-6 * theirs, f"{root.__name__} gives {theirs}, ours {ours}")
    bench.compare(
        f"Fréchet distance, {DIM:,} dimensions",
        ("frechet_distance", lambda: frechet_distance(first, second)),
        [
            Peer("scipy sqrtm", lambda: by_square_root(first, second), target=5),
            Peer("eigenvalues of the product, torch", lambda: by_eigenvalues(first, second)),
        ],
        equal="1e-6 relative",
    )


def by_square_root(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """The distance by a root of the product of the covariances."""
    a, b = first.covariance.numpy(), second.covariance.numpy()
    root = scipy.linalg.sqrtm(a @ b)
    shift = first.mean - second.mean
    return float(shift @ shift) + float(np.trace(a) + np.trace(b) - 2 * np.trace(root.real))


def by_eigenvalues(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """The distance by the eigenvalues of the product, which is not symmetric."""
    a, b = first.covariance, second.covariance
    shift = first.mean - second.mean
    root = torch.linalg.eigvals(a @ b).sqrt().real.sum()
    return float(shift @ shift + a.trace() + b.trace() - 2 * root)


def _statistics(shift: float) -> FeatureStatistics:
    """Of features whose variance falls off over the dimensions, as that of images' features does."""
    spectrum = torch.arange(1, DIM + 1, dtype=torch.float64).rsqrt()
    mix = torch.randn(DIM, DIM, dtype=torch.float64) / DIM**0.5
    x = torch.randn(SAMPLES, DIM, dtype=torch.float64) * spectrum @ mix + shift
    return FeatureStatistics.given(x.mean(0), x.T.cov(), SAMPLES)
