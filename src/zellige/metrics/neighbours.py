"""Precision and recall, density and coverage: do samples lie among the real data, and cover it?

A set's manifold is the union of balls around its points, each reaching to the k-th nearest other
point (arXiv 1904.06991; density and coverage: arXiv 2002.09797).
Legend: N reals, M fakes, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zellige.core.errors import UsageError

_TILE = 2**24  # distances held at once: 128 MB in float64


@dataclass(frozen=True)
class ManifoldConvention:
    """What implementations differ in.

    Attributes:
        neighbours: k, the point itself not counted.
        strict: a point on the rim of a ball lies outside.
        arithmetic: ``float64``; or ``float16``, in which ADM's evaluator computes squared distances
            (and in float32 if one overflows), so that a sample or two change sides.
    """

    neighbours: int = 3
    strict: bool = False
    arithmetic: Literal["float64", "float16"] = "float64"


TORCH_FIDELITY = ManifoldConvention()
ADM = ManifoldConvention(arithmetic="float16")
PRDC = ManifoldConvention(neighbours=5, strict=True)


@dataclass(frozen=True)
class Manifold:
    """The points of a set, (N, D), and the squared radii of their balls, (N,)."""

    points: Tensor
    radii: Tensor
    convention: ManifoldConvention

    @classmethod
    def of(cls, points: Tensor, convention: ManifoldConvention = TORCH_FIDELITY) -> Manifold:
        """Balls that reach to the k-th nearest other point."""
        k = convention.neighbours
        if points.ndim != 2 or len(points) <= k:
            raise UsageError(f"{k} neighbours need more than {k} points (N, D); got {tuple(points.shape)}")
        # The nearest point of each is itself, hence k + 1.
        radii = [d.kthvalue(k + 1, dim=1).values for d in _tiles(points, points, convention)]
        return cls(points, torch.cat(radii), convention)

    def membership(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Of (M, D) points: in how many balls each lies, (M,), and whether each ball holds one, (N,)."""
        counts, hit = [], torch.zeros(len(self.points), dtype=torch.bool)
        for distances in _tiles(points, self.points, self.convention):
            inside = distances < self.radii if self.convention.strict else distances <= self.radii
            counts.append(inside.sum(1))
            hit |= inside.any(0)
        return torch.cat(counts), hit

    def realism(self, points: Tensor, epsilon: float = 1e-5) -> Tensor:
        """Largest ratio of a ball's squared radius to the squared distance of its centre, for each of (M, D): (M,)."""
        return torch.cat(
            [(self.radii / (distances + epsilon)).amax(1) for distances in _tiles(points, self.points, self.convention)]
        )


@dataclass(frozen=True)
class ManifoldScores:
    """Shares in [0, 1]; `density` may exceed 1.

    Attributes:
        precision: share of fakes inside any real ball.
        recall: share of reals inside any fake ball.
        density: mean number of real balls that hold a fake, over k.
        coverage: share of real balls that hold a fake.
    """

    precision: float
    recall: float
    density: float
    coverage: float

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall; 0 if both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def precision_recall(real: Tensor, fake: Tensor, convention: ManifoldConvention = TORCH_FIDELITY) -> ManifoldScores:
    """Scores of fakes (M, D) against reals (N, D). Depends on both counts: state them."""
    if real.shape[1:] != fake.shape[1:]:
        raise UsageError(f"no precision and recall between features {tuple(real.shape)} and {tuple(fake.shape)}")
    reals, fakes = Manifold.of(real, convention), Manifold.of(fake, convention)
    in_real, covered = reals.membership(fake)
    in_fake, _ = fakes.membership(real)
    return ManifoldScores(
        precision=_mean(in_real > 0),
        recall=_mean(in_fake > 0),
        density=_mean(in_real) / convention.neighbours,
        coverage=_mean(covered),
    )


def _tiles(x: Tensor, y: Tensor, convention: ManifoldConvention) -> Iterator[Tensor]:
    """Squared distances of (N, D) to (M, D), a few rows (n, M) at a time."""
    half = convention.arithmetic == "float16"
    x, y = (x, y) if half else (x.double(), y.double())
    for part in x.split(max(1, _TILE // len(y))):
        yield _half_distances(part, y) if half else _squared_distances(part, y)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    distances = x.square().sum(1)[:, None] - 2 * x @ y.T + y.square().sum(1)
    return distances.clamp_(min=0)


def _half_distances(x: Tensor, y: Tensor) -> Tensor:
    """As ADM's evaluator has them: norms, products and sums rounded to float16; float32 if one overflows."""
    half = _squared_distances(x.half(), y.half())
    return (half if half.isfinite().all() else _squared_distances(x.float(), y.float())).float()


def _mean(x: Tensor) -> float:
    return x.double().mean().item()
