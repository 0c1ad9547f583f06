"""Fréchet distance between two sets of features: FID, sFID, FVD and FD are this, by their network.

    FD = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½

With Σᵢ = AᵢAᵢᵀ the last trace is the sum of the singular values of A₁ᵀA₂. So no root of a matrix and
no eigenvalue of an unsymmetric one is ever needed: a Cholesky factor (or eigenvectors, for Σ without
full rank) and one symmetric eigen-solve give it, and with fewer samples than dimensions the
centred samples are the factor themselves.
Legend: N M samples, D dimensions, R rank of a factor.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.files import replacing


class FeatureStatistics:
    """Count, mean and covariance of a stream of features, in float64: n, Σx and Σxxᵀ.

    While there are fewer samples than dimensions the samples themselves are kept, which takes less
    memory and gives the distance without the noise of a singular covariance.

    Args:
        dim: of the features.
    """

    def __init__(self, dim: int) -> None:
        self.dim, self.count = dim, 0
        self._sum = torch.zeros(dim, dtype=torch.float64)
        self._rows: list[Tensor] | None = []
        self._products: Tensor | None = None
        self._given: tuple[Tensor, Tensor] | None = None

    @classmethod
    def given(cls, mean: Tensor, covariance: Tensor, count: int = 0) -> FeatureStatistics:
        """Statistics that were published as mean (D,) and unbiased covariance (D, D); nothing can be added."""
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise DataError(f"a mean {tuple(mean.shape)} and a covariance {tuple(covariance.shape)} do not fit")
        found = cls(len(mean))
        found.count, found._rows = count, None
        found._given = mean.to("cpu", torch.float64), covariance.to("cpu", torch.float64)
        return found

    def update(self, features: Tensor) -> None:
        """Add a batch (N, D). `ZelligeError` if one is not finite: a single NaN would spoil the set."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise UsageError(f"features are (N, {self.dim}); got {tuple(features.shape)}")
        x = features.detach().to("cpu", torch.float64)
        if not x.isfinite().all():
            raise ZelligeError("a feature network returned values that are not finite; check its images and weights")
        self._must_stream()
        self._add(len(x), x.sum(0), [x], None)

    def merge(self, other: FeatureStatistics) -> None:
        """Add all that `other` has seen; any order and any sharding give the same statistics."""
        if other.dim != self.dim:
            raise UsageError(f"cannot merge statistics of {self.dim} and of {other.dim} features")
        self._must_stream()
        other._must_stream()
        self._add(other.count, other._sum, other._rows or [], other._products)

    @property
    def mean(self) -> Tensor:
        """(D,), float64."""
        if self._given:
            return self._given[0]
        self._must_hold(1)
        return self._sum / self.count

    @property
    def covariance(self) -> Tensor:
        """Unbiased, (D, D), float64."""
        if self._given:
            return self._given[1]
        self._must_hold(2)
        if self._products is None:
            factor = self._centred_rows()
            return factor @ factor.T
        return (self._products - torch.outer(self._sum, self._sum / self.count)) / (self.count - 1)

    @property
    def variance(self) -> float:
        """Trace of the covariance."""
        return self.covariance.trace().item() if self._few is None else self._few.square().sum().item()

    @property
    def _few(self) -> Tensor | None:
        """A factor A (D, N) with AAᵀ = Σ where there are fewer samples than dimensions."""
        return self._centred_rows() if self._given is None and self._products is None else None

    def save(self, path: str | Path) -> None:
        """Write ``mu``, ``sigma`` and ``count`` as ``.npz``, the layout of published reference statistics."""
        with replacing(Path(path)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, mu=self.mean.numpy(), sigma=self.covariance.numpy(), count=np.array(self.count))

    @classmethod
    def load(cls, path: str | Path, *, mean: str = "mu", covariance: str = "sigma") -> FeatureStatistics:
        """Read a ``.npz`` with arrays of these names (``mu_s`` and ``sigma_s`` are sFID's in ADM's files)."""
        if not Path(path).is_file():
            raise UsageError(f"no file with reference statistics at '{path}'")
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
                count = int(file["count"]) if "count" in file.files else 0
                return cls.given(torch.as_tensor(file[mean]), torch.as_tensor(file[covariance]), count)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"'{path}' holds no arrays '{mean}' and '{covariance}': {reason}") from None

    def _add(self, count: int, total: Tensor, rows: list[Tensor], products: Tensor | None) -> None:
        self.count += count
        self._sum = self._sum + total
        if self._rows is not None:
            self._rows = [*self._rows, *rows]
            rows = self._rows
        if self._rows is None or products is not None or self.count > self.dim:
            self._rows = None
            for part in (*(r.T @ r for r in rows), *(() if products is None else (products,))):
                self._products = part.clone() if self._products is None else self._products.add_(part)

    def _centred_rows(self) -> Tensor:
        self._must_hold(2)
        rows = torch.cat(self._rows or [])
        return (rows - self.mean).T / math.sqrt(self.count - 1)

    def _must_stream(self) -> None:
        if self._given:
            raise UsageError("statistics that were read as mean and covariance cannot take further samples")

    def _must_hold(self, needed: int) -> None:
        if self.count < needed:
            raise ZelligeError(f"a Fréchet distance needs at least 2 samples a set; there are {self.count}")


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """The squared Fréchet distance of the Gaussians with these moments; symmetric, at least 0 up to rounding.

    Biased upwards for few samples: compare only distances of equal counts.
    """
    if first.dim != second.dim:
        raise UsageError(f"no Fréchet distance between features of {first.dim} and {second.dim} dimensions")
    shift = (first.mean - second.mean).square().sum().item()
    return shift + first.variance + second.variance - 2 * trace_of_root(first, second)


def trace_of_root(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """tr (Σ₁Σ₂)^½."""
    a, b = first._few, second._few
    if a is not None and b is not None:
        return torch.linalg.svdvals(a.T @ b).sum().item()
    if a is None and b is not None:
        a, second = b, first
    elif a is None:
        a = _factor(first.covariance)
    gram = a.T @ second.covariance @ a
    return torch.linalg.eigvalsh(gram).clamp_(min=0).sqrt_().sum().item()


def _factor(covariance: Tensor) -> Tensor:
    """A (D, R) with AAᵀ = Σ, R the rank up to rounding."""
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed and lower.isfinite().all():
        return lower
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return vectors[:, kept] * values[kept].sqrt()
