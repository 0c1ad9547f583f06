"""Units of a grid: every kind comes back from its sequence, and the loop draws them in order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.generate.cells import UNITS, make_units, next_units


@pytest.mark.parametrize("grid", [(4, 4), (4, 6), (8, 8)])
@pytest.mark.parametrize("kind", UNITS)
def test_the_sequence_is_the_grid_again(kind: str, grid: tuple[int, int]) -> None:
    units = make_units(kind, grid, 2)
    latents = torch.randn(3, grid[0] * grid[1], 5)
    sequence = units.split(latents)
    assert sequence.shape == (3, sum(units.sizes), 5)
    assert units.positions.shape == (sum(units.sizes), 2)
    torch.testing.assert_close(units.join(sequence), latents)


def test_sizes_of_the_kinds() -> None:
    assert make_units("patch", (4, 4), 9).sizes == (1,) * 16
    assert make_units("cell", (16, 16), 2).sizes == (64,) * 4
    assert make_units("cell", (16, 16), 4).sizes == (16,) * 16
    assert make_units("subsample", (4, 6), 2).sizes == (6,) * 4
    assert make_units("whole", (4, 4), 2).sizes == (16,)
    assert make_units("scale", (8, 8), 2).sizes == (1, 4, 16, 64)
    assert make_units("cell", (12,), 3).sizes == (4, 4, 4)


def test_positions_are_those_of_the_grid() -> None:
    cell = make_units("cell", (4, 4), 2).positions.view(4, 4, 2)
    assert cell[1].tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    comb = make_units("subsample", (4, 4), 2).positions.view(4, 4, 2)
    assert comb[1].tolist() == [[0, 1], [0, 3], [2, 1], [2, 3]]
    scale = make_units("scale", (4, 4), 2).positions
    assert scale[:5].tolist() == [[0, 0], [0, 0], [0, 2], [2, 0], [2, 2]]


def test_coarse_scales_are_averages() -> None:
    units, latents = make_units("scale", (4, 4), 2), torch.randn(2, 16, 3)
    torch.testing.assert_close(units.split(latents)[:, 0], latents.mean(1))


def test_values_of_units_are_repeated_for_their_tokens() -> None:
    assert make_units("scale", (2, 2), 2).repeat(torch.tensor([[7, 8]])).tolist() == [[7, 8, 8, 8, 8]]


def test_the_loop_hands_on_what_was_drawn() -> None:
    told: list[tuple[float | None, int, float]] = []

    def draw(before: Tensor | None, index: int, progress: float) -> Tensor:
        told.append((None if before is None else before.item(), index, progress))
        return torch.full((1, 1, 1), float(index))

    assert next_units(draw, 3).flatten().tolist() == [0, 1, 2]
    assert told == [(None, 0, 0.0), (0.0, 1, 0.5), (1.0, 2, 1.0)]
    told.clear()
    next_units(draw, 1)
    assert told == [(None, 0, 1.0)]  # a single unit is guided in full


@pytest.mark.parametrize(
    ("kind", "grid", "message"),
    [
        ("cell", (4, 5), "4×5 tokens does not divide into 2 on each axis; set divisions"),
        ("subsample", (3, 4), "does not divide"),
        ("scale", (8,), "two sides"),
        ("sell", (4, 4), "cell"),
    ],
)
def test_what_is_refused(kind: str, grid: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_units(kind, grid, 2)
    with pytest.raises(UsageError, match="divisions"):
        make_units("cell", (4, 4), 0)
