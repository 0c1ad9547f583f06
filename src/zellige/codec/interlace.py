"""The order in which a token grid is coded, and the context of each digit.

A grid is coded coarse to fine: every 32nd position first, then the midpoints of the squares, then
the midpoints of their edges, and so on at half the spacing. Each pass is a few regular lattices
whose neighbours are all known, so that a pass is array operations, without a loop over tokens.

The context of a digit is a small integer that names the frequency table to code it with. It tells
how far the known neighbours are, their mean and spread in the same digit plane, and how badly the
neighbours predicted the digit planes already coded at the same position. Only integers are used:
the decoder finds the same contexts on every machine.

Legend: B samples, h w grid, r c lattice, P digit planes, K radix of a plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

COARSE = 32  # spacing of the first pass, whose positions have no known neighbours
MAX_RADIX = 64  # larger alphabets are code numbers without an order: neighbours tell nothing there
_SCALES = 4  # distances 1, 2, 4, and 8 or more have tables of their own
_SPREADS = 4
_SURPRISES = 4

Code = Callable[[int, "np.ndarray | None", np.ndarray], None]


class Lattice(NamedTuple):
    """Positions (y + i·dy, x + j·dx), their known neighbours at the four `offsets`, and a number for the kind."""

    y: int
    x: int
    step: int
    offsets: tuple[tuple[int, int], ...]
    kind: int


def lattices(height: int, width: int) -> Iterator[Lattice]:
    """The passes over a grid, in coding order; together they visit every position once."""
    yield Lattice(0, 0, COARSE, (), 0)
    spacing = COARSE
    while spacing > 1:
        half = spacing // 2
        kind = 2 * min(half.bit_length() - 1, _SCALES - 1)
        diagonal = ((-half, -half), (-half, half), (half, -half), (half, half))
        straight = ((-half, 0), (half, 0), (0, -half), (0, half))
        for y, x, offsets, where in ((half, half, diagonal, 0), (0, half, straight, 1), (half, 0, straight, 1)):
            if y < height and x < width:
                yield Lattice(y, x, spacing, offsets, kind + where)
        spacing = half


def num_contexts(radix: int) -> int:
    """Frequency tables of a plane: one without neighbours, and one a kind, mean, spread and surprise."""
    if radix > MAX_RADIX:
        return 1
    return 1 + 2 * _SCALES * (2 * radix - 1) * _SPREADS * _SURPRISES


def visit(planes: list[np.ndarray], radices: tuple[int, ...], code: Code) -> None:
    """Call `code(plane, context, digits)` for all digits of a batch of grids, in coding order.

    Args:
        planes: P integer arrays (B, h, w). A decoder passes empty ones and lets `code` fill them.
        radices: K of each plane.
        code: gets the number of the plane, contexts (B, r, c) or None where there is one table for
            all, and a view (B, r, c) of the digits to read or to write.
    """
    height, width = planes[0].shape[-2:]
    for lattice in lattices(height, width):
        area = np.s_[..., lattice.y :: lattice.step, lattice.x :: lattice.step]
        surprise = np.zeros(planes[0][area].shape, np.int32)
        seen = 0
        for index, (plane, radix) in enumerate(zip(planes, radices, strict=True)):
            digits = plane[area]
            if not lattice.offsets or radix > MAX_RADIX:
                code(index, None, digits)
                continue
            mean, spread = _neighbours(plane, lattice)
            bad = (surprise >= seen).astype(np.int32) + (surprise >= 2 * seen) + (surprise >= 4 * seen)
            context = (lattice.kind * (2 * radix - 1) + mean) * _SPREADS + np.minimum(spread, _SPREADS - 1)
            code(index, 1 + context * _SURPRISES + (bad if seen else 0), digits)
            surprise += np.abs(2 * digits.astype(np.int32) - mean)
            seen += 1


def _neighbours(plane: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Mean in half steps, 0 to 2K-2, and maximum minus minimum, of the neighbours inside the grid: int32 (B, r, c)."""
    height, width = plane.shape[-2:]
    shape = plane[..., lattice.y :: lattice.step, lattice.x :: lattice.step].shape
    total, count = np.zeros(shape, np.int32), np.zeros(shape[-2:], np.int32)
    low, high = np.full(shape, MAX_RADIX, np.int32), np.full(shape, -1, np.int32)
    for dy, dx in lattice.offsets:
        rows = _inside(lattice.y + dy, lattice.step, height, shape[-2])
        columns = _inside(lattice.x + dx, lattice.step, width, shape[-1])
        y, x = lattice.y + dy + rows.start * lattice.step, lattice.x + dx + columns.start * lattice.step
        known = plane[..., y :: lattice.step, x :: lattice.step]
        known = known[..., : rows.stop - rows.start, : columns.stop - columns.start].astype(np.int32)
        here = np.s_[..., rows, columns]
        total[here] += known
        count[rows, columns] += 1
        low[here] = np.minimum(low[here], known)
        high[here] = np.maximum(high[here], known)
    return (4 * total + count) // (2 * count), high - low


def _inside(start: int, step: int, size: int, count: int) -> slice:
    """The i of range(count) for which start + i·step lies in [0, size)."""
    first = 1 if start < 0 else 0
    return slice(first, max(first, min(count, -(-(size - start) // step))))
