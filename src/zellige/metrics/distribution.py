"""One pass of a feature network over two sets, and every figure that compares the sets.

Legend: B images, D dimensions, H W pixels.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from zellige.core.errors import UsageError, ZelligeError
from zellige.metrics.base import PairedMetric, Rounding
from zellige.metrics.discrepancy import KIDSubsets, kernel_distance
from zellige.metrics.features import FeatureNetwork
from zellige.metrics.frechet import FeatureStatistics, frechet_distance
from zellige.metrics.neighbours import ManifoldConvention, precision_recall
from zellige.metrics.protocol import Measurement, Protocol
from zellige.metrics.subset import FeatureSubset

KEPT = 10_000
"""Images of a set whose features are kept unless told: 51 MB by EfficientNet-Lite0, 82 MB by Inception."""


class FeatureDistances(PairedMetric):
    """Fréchet distance of references and outputs; on request kernel distance, precision and recall too.

    The Fréchet distance needs sums only. The others need features, 4·D bytes an image: of a larger set those of
    `kept` images on either side, a random choice that depends on neither order nor batches. Protocols say so.

    Args:
        network: `zellige.convert.features.load_features("efficientnet_lite0")`, say.
        kernel: subsets of the kernel distance; None leaves it out.
        manifold: convention of precision, recall, density and coverage; None leaves them out.
        kept: images whose features are kept, of either set; None keeps those of all.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        rounding: Rounding = "uint8",
        *,
        kernel: KIDSubsets | None = None,
        manifold: ManifoldConvention | None = None,
        kept: int | None = KEPT,
    ) -> None:
        super().__init__(rounding)
        self.network, self.kernel, self.manifold, self.kept = network, kernel, manifold, kept
        self.real, self.fake = FeatureStatistics(network.dim), FeatureStatistics(network.dim)
        self._subsets = FeatureSubset(kept), FeatureSubset(kept)

    def update(self, reference: Tensor, output: Tensor) -> None:
        self.add_reference(reference)
        self.add_output(output)

    def add_reference(self, images: Tensor) -> None:
        """Add real images (B, 3, H, W) in [-1, 1] alone, as for generated sets."""
        self._add(images, self.real, self._subsets[0])

    def add_output(self, images: Tensor) -> None:
        """Add reconstructed or generated images alone."""
        self._add(images, self.fake, self._subsets[1])

    @property
    def protocol(self) -> Protocol:
        return self._protocol(
            self.network.distance, "|μ₁−μ₂|² + tr(Σ₁+Σ₂−2(Σ₁Σ₂)^½), float64; biased upwards for few samples"
        )

    def compute(self) -> tuple[Measurement, ...]:
        if min(self.real.count, self.fake.count) < 2:
            raise ZelligeError(
                f"{self.network.distance} compares sets of 2 or more images; "
                f"there are {self.real.count} references and {self.fake.count} outputs"
            )
        found = [Measurement(frechet_distance(self.real, self.fake), self.protocol)]
        if self.kernel:
            found.append(self._kernel_distance(self.kernel))
        if self.manifold:
            found += self._manifold_scores(self.manifold)
        return tuple(found)

    def merge(self, other: Self) -> None:
        if other.network.fingerprint != self.network.fingerprint:
            raise UsageError("cannot merge figures of two feature networks")
        if other.kept != self.kept:
            raise UsageError(f"cannot merge figures that keep features of {self.kept} and of {other.kept} images")
        self.real.merge(other.real)
        self.fake.merge(other.fake)
        for ours, theirs in zip(self._subsets, other._subsets, strict=True):
            ours.merge(theirs)

    def _add(self, images: Tensor, statistics: FeatureStatistics, subset: FeatureSubset) -> None:
        unit = self.unit_range(images)
        features = self.network(unit * 2 - 1)
        statistics.update(features)
        if self.kernel or self.manifold:
            subset.update(features, (unit * 255).round().to(torch.uint8))

    def _kernel_distance(self, subsets: KIDSubsets) -> Measurement:
        real, fake = self._subsets[0].rows(), self._subsets[1].rows()
        value, spread = kernel_distance(real, fake, subsets)
        size = min(subsets.size, len(real), len(fake))
        definition = f"unbiased MMD², kernel (x·y/D + 1)³, mean of {subsets.count} subsets of {size}{self._of_kept()}"
        metric = "KID" if self.network.distance == "FID" else f"KD-{self.network.name}"
        return Measurement(value, self._protocol(metric, definition), spread)

    def _manifold_scores(self, convention: ManifoldConvention) -> list[Measurement]:
        scores = precision_recall(self._subsets[0].rows(), self._subsets[1].rows(), convention)
        rim = "<" if convention.strict else "≤"
        rule = f"balls to neighbour {convention.neighbours}, {rim}, {convention.arithmetic}{self._of_kept()}"
        return [
            Measurement(getattr(scores, name), self._protocol(f"{name} of {self.network.name}", rule))
            for name in ("precision", "recall", "density", "coverage")
        ]

    def _of_kept(self) -> str:
        """What a definition ends with where features of a part of the images were kept."""
        beyond = self.kept is not None and max(self.real.count, self.fake.count) > self.kept
        return f", of at most {self.kept:,} images a set, drawn by hash" if beyond else ""

    def _protocol(self, metric: str, definition: str) -> Protocol:
        n, m = self.real.count, self.fake.count
        return Protocol(
            metric,
            self.network.variant,
            definition,
            data_range="[0, 1]",
            rounding=self.rounding,
            samples=m,
            network=f"{self.network.name}, input {self.network.resize}",
            network_hash=self.network.fingerprint,
            conditions="" if n == m else f"{n} references",
        )
