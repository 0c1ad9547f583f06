"""Orders in which the tokens of a grid are taken: permutations of its raster order.

``x[:, order]`` has the tokens of a raster in the new order, ``y[:, inverse(order)]`` has them back.
Legend: N tokens, A axes of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zellige.core.errors import UsageError


def cell_order(grid: Sequence[int], cell: Sequence[int]) -> Tensor:
    """Cell after cell in raster order, and the tokens of each in raster order: int64 (N,).

    Args:
        grid: A sides in tokens.
        cell: A sides of a cell. Raises `UsageError` unless they divide those of the grid.
    """
    tiles = _tiles(grid, cell)
    outer, inner = range(0, tiles.ndim, 2), range(1, tiles.ndim, 2)
    return tiles.permute(*outer, *inner).flatten()


def strided_order(grid: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Tokens that lie `stride` apart: one such set after the other, each in raster order, int64 (N,).

    The sets come in raster order of their first tokens. Raises `UsageError` unless the strides divide the grid.
    """
    tiles = _tiles(grid, stride)
    outer, inner = range(0, tiles.ndim, 2), range(1, tiles.ndim, 2)
    return tiles.permute(*inner, *outer).flatten()


def inverse(order: Tensor) -> Tensor:
    """The permutation that undoes `order`."""
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))


def _tiles(grid: Sequence[int], tile: Sequence[int]) -> Tensor:
    """Raster indices with each axis as (tile, place within it): 2·A axes."""
    if len(grid) != len(tile) or any(t < 1 or side % t for side, t in zip(grid, tile, strict=True)):
        sides, parts = ("×".join(map(str, shape)) for shape in (grid, tile))
        raise UsageError(f"a grid of {sides} tokens does not divide into tiles of {parts}")
    shape = [n for side, t in zip(grid, tile, strict=True) for n in (side // t, t)]
    return torch.arange(torch.Size(grid).numel()).view(shape)
