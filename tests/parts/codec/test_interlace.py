"""Coding order and contexts against loops over single positions."""

from __future__ import annotations

import numpy as np
import pytest

from zellige.codec.interlace import COARSE, MAX_RADIX, lattices, num_contexts, visit

SIZES = [(1, 1), (1, 9), (7, 1), (5, 8), (33, 40), (70, 65)]


@pytest.mark.parametrize("size", SIZES)
def test_every_position_is_coded_once_and_after_its_neighbours(size: tuple[int, int]) -> None:
    height, width = size
    done: set[tuple[int, int]] = set()
    for lattice in lattices(height, width):
        here = {(y, x) for y in range(lattice.y, height, lattice.step) for x in range(lattice.x, width, lattice.step)}
        assert not here & done
        for y, x in here:
            around = {(y + dy, x + dx) for dy, dx in lattice.offsets}
            inside = {(v, u) for v, u in around if 0 <= v < height and 0 <= u < width}
            assert inside <= done
            assert inside or lattice.step == COARSE
        done |= here
    assert len(done) == height * width


@pytest.mark.parametrize("size", SIZES)
def test_contexts_are_rounded_means_and_spreads_of_the_neighbours(size: tuple[int, int]) -> None:
    height, width = size
    radix = 8
    plane = np.random.default_rng(1).integers(0, radix, (2, height, width))
    passes = iter(lattices(height, width))

    def check(index: int, context: np.ndarray | None, digits: np.ndarray) -> None:
        lattice = next(passes)
        if context is None:
            assert not lattice.offsets
            return
        for b, i, j in np.ndindex(context.shape):
            y, x = lattice.y + i * lattice.step, lattice.x + j * lattice.step
            assert digits[b, i, j] == plane[b, y, x]
            around = [(y + dy, x + dx) for dy, dx in lattice.offsets]
            known = [int(plane[b, v, u]) for v, u in around if 0 <= v < height and 0 <= u < width]
            mean = int(np.floor(2 * sum(known) / len(known) + 0.5))
            spread = min(max(known) - min(known), 3)
            assert context[b, i, j] == 1 + 4 * ((lattice.kind * (2 * radix - 1) + mean) * 4 + spread)

    visit([plane], (radix,), check)


def test_contexts_stay_below_their_number() -> None:
    random = np.random.default_rng(2)
    radices = (2, 8, 5, MAX_RADIX, 1000)
    planes = [random.integers(0, k, (3, 40, 37)) for k in radices]
    seen: set[int] = set()

    def check(index: int, context: np.ndarray | None, digits: np.ndarray) -> None:
        if context is not None:
            seen.add(index)
            assert context.min() >= 1
            assert context.max() < num_contexts(radices[index])

    visit(planes, radices, check)
    assert seen == {0, 1, 2, 3}  # the last plane is unordered: no contexts
