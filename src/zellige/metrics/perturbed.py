"""pFID: the Fréchet distance of images that were decoded from perturbed tokens (RobustTok, arXiv 2503.08354).

A generator draws wrong tokens now and then; the clean distance does not see how a decoder takes them. Here a share
alpha of the tokens is replaced by one of the delta nearest codes, for a grid of both; the figure is the mean over it.
With Inception it is pFID, with another network named after that: pFD-efficientnet_lite0.

Legend: A strengths alpha, D neighbourhoods delta, K codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from zellige.core.errors import UsageError, ZelligeError, nearest
from zellige.latent.perturb import AROUND, Around
from zellige.metrics.base import Metric
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.protocol import Measurement

STATED_FOR = 4096
"""K of the codebook that the usual deltas were chosen for."""


@dataclass(frozen=True)
class Cell:
    """One strength: a share `alpha` of the tokens becomes one of the `delta` nearest codes."""

    alpha: float
    delta: int


@dataclass(frozen=True)
class PerturbationGrid:
    """The strengths that pFID is the mean over: every alpha with every delta.

    The usual grid is recalled from the paper, whose code of the metric was never published: compare figures only
    where grid, rule, neighbourhood and seed are the same, which their protocol holds.

    Attributes:
        alphas: shares of the tokens that are replaced, in [0, 1].
        deltas: codes to choose from, 1 to K.
        scale: deltas are stated for 4,096 codes, and become round(delta·K/4096), at least 2, for K codes; of several
            sub-codebooks the smallest counts.
        around: codes near the latents ("feature", the released training code) or near their codes ("code").
        seed: of the draws. An image's draws depend on the seed, its number in the set and the cell alone.
    """

    alphas: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    deltas: tuple[int, ...] = (200, 280, 360)
    scale: bool = False
    around: Around = "feature"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.alphas or not self.deltas:
            raise UsageError("the grid of pFID is empty; give one alpha and one delta at least")
        for alpha in self.alphas:
            if not 0 <= alpha <= 1:
                raise UsageError(f"alpha of pFID is a share of the tokens, in [0, 1]; got {alpha:g}")
        for delta in self.deltas:
            if delta < 1:
                raise UsageError(f"delta of pFID is a number of codes, 1 or more; got {delta}")
        for name, values in (("alpha", self.alphas), ("delta", self.deltas)):
            if len(set(values)) < len(values):
                raise UsageError(f"the grid of pFID has one {name} twice: {', '.join(f'{v:g}' for v in values)}")
        if self.around not in AROUND:
            raise nearest(self.around, list(AROUND), "neighbourhood of pFID")

    def cells(self, codebook: tuple[int, ...]) -> tuple[Cell, ...]:
        """The cells for a tokenizer of these sub-codebooks, alpha by alpha; equal ones once.

        Raises `UsageError` for continuous latents, and if a delta exceeds the smallest codebook.
        """
        if not codebook:
            raise UsageError("pFID perturbs tokens, and continuous latents have none; use a discrete tokenizer, or fd")
        smallest = min(codebook)
        deltas = [max(2, round(d * smallest / STATED_FOR)) for d in self.deltas] if self.scale else [*self.deltas]
        if max(deltas) > smallest:
            raise UsageError(
                f"delta {max(deltas)} of pFID exceeds the codebook of {smallest:,} codes; "
                "give smaller deltas, or scale them with the codebook (scale=True, --pfid-scale)"
            )
        return tuple(Cell(alpha, delta) for alpha in self.alphas for delta in dict.fromkeys(deltas))

    def describe(self) -> str:
        """All that the figure depends on, in a few words."""
        alphas = ", ".join(f"{a:g}" for a in self.alphas)
        deltas = ", ".join(str(d) for d in self.deltas)
        rule = f" · K/{STATED_FOR}" if self.scale else ""
        return f"α ∈ {{{alphas}}}, δ ∈ {{{deltas}}}{rule}, {self.draws}"

    @property
    def draws(self) -> str:
        """What each cell depends on beside its strength."""
        return f"around the {self.around}, all images, seed {self.seed}"


class PerturbedDistances(Metric):
    """A Fréchet distance for each cell of a grid, all against the references of one clean distance.

    Keeps sums for each cell, D² numbers of float64, and never an image: 15 cells take 0.2 GB by EfficientNet-Lite0
    and 0.5 GB by Inception.

    Args:
        clean: the distance of unperturbed reconstructions; its references serve all cells.
        grid: the strengths.
        codebook: sizes of the tokenizer's sub-codebooks.
    """

    def __init__(self, clean: FeatureDistances, grid: PerturbationGrid, codebook: tuple[int, ...]) -> None:
        self.clean, self.grid, self.codebook = clean, grid, codebook
        self.cells = grid.cells(codebook)
        self._distances = {cell: FeatureDistances(clean.network, clean.rounding) for cell in self.cells}
        for distance in self._distances.values():
            distance.real = clean.real
        self._changed, self._tokens = dict.fromkeys(self.cells, 0), dict.fromkeys(self.cells, 0)

    @property
    def name(self) -> str:
        """``pFID`` for Inception, ``pFD-…`` for other networks."""
        return f"p{self.clean.network.distance}"

    @property
    def needed(self) -> int:
        """Images below which the covariance of the features has not full rank, and the distance says less."""
        return self.clean.network.dim + 1

    def add(self, cell: Cell, images: Tensor, changed: int, tokens: int) -> None:
        """Add what the perturbed tokens of a batch decode to: (B, 3, H, W) in [-1, 1].

        Args:
            cell: one of `cells`.
            images: of the batch that `clean` is updated with.
            changed: ids that differ from the clean ones, of `tokens`.
            tokens: ids of the batch.
        """
        self._distances[cell].add_output(images)
        self._changed[cell] += changed
        self._tokens[cell] += tokens

    def changed(self, cell: Cell) -> float:
        """Share of the ids that a cell replaced by others; alpha·(1 − 1/delta) on average."""
        return self._changed[cell] / max(1, self._tokens[cell])

    def distance(self, cell: Cell) -> Measurement:
        """The distance of one cell. `ZelligeError` below two images."""
        (found,) = self._distances[cell].compute()
        variant = ", ".join(p for p in (found.protocol.variant, f"α {cell.alpha:g}, δ {cell.delta}") if p)
        return found.on(variant=variant, conditions=_and(found.protocol.conditions, self.grid.draws))

    def compute(self) -> tuple[Measurement, ...]:
        """The mean over the cells."""
        return (self.mean([self.distance(cell) for cell in self.cells]),)

    def mean(self, cells: list[Measurement]) -> Measurement:
        """The figure, of the distances of all cells."""
        if not cells:
            raise ZelligeError("nothing was measured")
        clean = self.clean.protocol
        definition = f"mean of {clean.metric} over {len(cells)} strengths of perturbation"
        protocol = replace(
            clean, metric=self.name, definition=definition, conditions=_and(clean.conditions, self.grid.describe())
        )
        return Measurement(math.fsum(m.value for m in cells) / len(cells), protocol)

    def merge(self, other: Self) -> None:
        if (other.grid, other.codebook) != (self.grid, self.codebook):
            raise UsageError("cannot merge pFID of two grids or codebooks")
        self.clean.merge(other.clean)
        for cell in self.cells:
            self._distances[cell].fake.merge(other._distances[cell].fake)
            self._changed[cell] += other._changed[cell]
            self._tokens[cell] += other._tokens[cell]


def _and(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
