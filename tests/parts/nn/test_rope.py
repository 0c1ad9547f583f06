from __future__ import annotations

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.nn.rope import apply_rotary, grid_positions, rotary_table


def test_positions_of_a_grid_are_in_raster_order() -> None:
    assert grid_positions((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    table = rotary_table(torch.arange(12), 16)

    def product(i: int, j: int) -> float:
        return float((apply_rotary(q, table[i : i + 1]) * apply_rotary(k, table[j : j + 1])).sum())

    assert product(2, 5) == pytest.approx(product(7, 10), abs=1e-5)
    assert product(2, 5) != pytest.approx(product(2, 6), abs=1e-3)


def test_each_axis_turns_its_half() -> None:
    x = torch.ones(1, 1, 2, 8)
    turned = apply_rotary(x, rotary_table(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 8))
    assert torch.equal(turned[0, 0, 0, :4], x[0, 0, 0, :4])
    assert torch.equal(turned[0, 0, 1, 4:], x[0, 0, 1, 4:])
    angle = torch.tensor(1.0)  # the first frequency is 1
    torch.testing.assert_close(turned[0, 0, 1, :2], torch.stack([angle.cos() - angle.sin(), angle.sin() + angle.cos()]))


def test_half_precision_keeps_its_type_and_a_wrong_size_is_refused() -> None:
    assert apply_rotary(torch.ones(1, 1, 2, 8).bfloat16(), rotary_table(torch.arange(2), 8)).dtype == torch.bfloat16
    with pytest.raises(UsageError, match="multiple of 4 channels, not 6"):
        rotary_table(grid_positions((2, 2)), 6)
