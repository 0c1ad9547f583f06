"""Orders of a grid: permutations that come back, and what each of their runs holds."""

from __future__ import annotations

import itertools

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.nn.scan import cell_order, inverse, strided_order


@pytest.mark.parametrize("order", [cell_order, strided_order])
def test_they_are_permutations_with_an_exact_inverse(order: object) -> None:
    for side, rows, columns in itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2, 5)):
        grid = (rows * side, columns * side)
        found = order(grid, (side, side))  # type: ignore[operator]
        assert torch.equal(found.sort().values, torch.arange(grid[0] * grid[1]))
        assert torch.equal(found[inverse(found)], torch.arange(len(found)))
        assert torch.equal(inverse(found)[found], torch.arange(len(found)))
        if side == 1:
            assert torch.equal(found, torch.arange(len(found)))


def test_cells_are_blocks_and_strides_are_combs() -> None:
    assert cell_order((4, 4), (2, 2)).view(4, 4).tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]
    assert strided_order((4, 4), (2, 2)).view(4, 4)[:2].tolist() == [[0, 2, 8, 10], [1, 3, 9, 11]]
    assert cell_order((6,), (3,)).tolist() == list(range(6))
    assert strided_order((6,), (3,)).tolist() == [0, 3, 1, 4, 2, 5]
    assert cell_order((2, 2, 2), (1, 2, 1)).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(("grid", "tile"), [((4, 6), (2, 4)), ((4, 4), (0, 2)), ((4,), (2, 2))])
def test_a_grid_that_does_not_divide_is_refused(grid: tuple[int, ...], tile: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="does not divide into tiles of"):
        cell_order(grid, tile)
