"""Next-X generation (xAR, arXiv 2502.20388): a latent grid as a sequence of units, each drawn at once.

A unit is a patch, a cell of neighbouring patches, a subsample of patches that lie apart, a scale of a pyramid, or
the whole. Legend: B samples, N tokens of the grid, L of the sequence, K units of n tokens, D dimensions, A axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zellige.core.errors import UsageError, nearest
from zellige.generate.scales import halvings, scale_positions, shrink
from zellige.nn.conv import to_grid
from zellige.nn.rope import grid_positions
from zellige.nn.scan import cell_order, inverse, strided_order

UNITS = ("patch", "cell", "subsample", "scale", "whole")

Draw = Callable[[Tensor | None, int, float], Tensor]


@dataclass(frozen=True, eq=False)
class Units:
    """How a grid becomes a sequence of units, and how the sequence becomes a grid again.

    Attributes:
        sizes: n of each unit; L is their sum.
        positions: where each token lies on the grid, float (L, A).
        grid: the sides, in tokens.
        order: raster index of each token, int64 (N,); None where the units are scales.
        scales: (height, width) of each scale, coarse to fine; empty elsewhere.
    """

    sizes: tuple[int, ...]
    positions: Tensor
    grid: tuple[int, ...]
    order: Tensor | None = None
    scales: tuple[tuple[int, ...], ...] = ()

    def split(self, latents: Tensor) -> Tensor:
        """Latents (B, N, D) in raster order to the sequence (B, L, D), unit after unit."""
        if self.order is not None:
            return latents[:, self.order.to(latents.device)]
        canvas = to_grid(latents, self.grid)
        return torch.cat([shrink(canvas, scale) for scale in self.scales], dim=1)

    def repeat(self, values: Tensor) -> Tensor:
        """A value of each unit, (B, K, …), for each of its tokens, (B, L, …)."""
        return values.repeat_interleave(torch.tensor(self.sizes, device=values.device), dim=1)

    def join(self, sequence: Tensor) -> Tensor:
        """The sequence (B, L, D) back to latents (B, N, D): those of the finest scale where there are scales."""
        if self.order is not None:
            return sequence[:, inverse(self.order).to(sequence.device)]
        return sequence[:, -self.sizes[-1] :]


def make_units(kind: str, grid: tuple[int, ...], divisions: int) -> Units:
    """The units of a grid.

    Args:
        kind: one of `UNITS`: ``patch``, N units of one token; ``cell``, blocks of the grid cut into `divisions` on each
            axis; ``subsample``, tokens that lie `divisions` apart on each axis; ``scale``, the grid averaged down to
            halves, quarters, … of its sides, coarse to fine; ``whole``, one unit.
        grid: sides in tokens.
        divisions: K is this to the power of A for cells and subsamples.

    Raises `UsageError` for an unknown kind, and for a grid that does not divide.
    """
    if kind not in UNITS:
        raise nearest(kind, list(UNITS), "kind of unit")
    if kind == "scale":
        return _scales(grid)
    pieces = {"patch": list(grid), "whole": [1] * len(grid)}.get(kind, [divisions] * len(grid))
    if any(n < 1 or side % n for side, n in zip(grid, pieces, strict=True)):
        sides = "×".join(map(str, grid))
        raise UsageError(f"a grid of {sides} tokens does not divide into {divisions} on each axis; set divisions")
    if kind == "subsample":
        order = strided_order(grid, pieces)
    else:
        order = cell_order(grid, [side // n for side, n in zip(grid, pieces, strict=True)])
    count = torch.Size(pieces).numel()
    return Units((len(order) // count,) * count, grid_positions(grid)[order].float(), grid, order)


def next_units(draw: Draw, count: int) -> Tensor:
    """Sample `count` units one after the other: the sequence (B, L, D).

    Args:
        draw: the unit before (None at the first), the index k of that to come and the progress of the guidance, which
            is k / (K - 1), or 1 for a single unit, to its tokens (B, n, D). It keeps what it needs in a cache.
        count: K.
    """
    parts: list[Tensor] = []
    for index in range(count):
        parts.append(draw(parts[-1] if parts else None, index, index / (count - 1) if count > 1 else 1.0))
    return torch.cat(parts, dim=1)


def _scales(grid: tuple[int, ...]) -> Units:
    if len(grid) != 2:
        raise UsageError(f"scales are of grids with two sides, not of {len(grid)} axes; use cells")
    scales = halvings(grid)
    sizes = tuple(torch.Size(scale).numel() for scale in scales)
    return Units(sizes, scale_positions(scales), grid, scales=scales)
