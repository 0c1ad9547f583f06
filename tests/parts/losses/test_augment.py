from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from zellige.losses.augment import DiffAugment, Draws, change_colours, cut_out, gaussian_blur, translate

unit = st.floats(0, 1, exclude_max=True, width=32)


def image(height: int = 8, width: int = 6) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1


def pair(draw: float) -> torch.Tensor:
    return torch.full((2,), draw, dtype=torch.float64)


@given(unit, unit)
def test_translation_moves_whole_pixels_and_fills_with_zero(down: float, right: float) -> None:
    x = image()
    moved = translate(x, pair(down), pair(right), 0.25)
    dy, dx = int(down * 5) - 2, int(right * 5) - 2  # ±2 of 8 rows and of 6 columns (1.5 rounds to 2)
    padded = F.pad(x, (2, 2, 2, 2))
    assert torch.equal(moved, padded[:, :, 2 + dy : 10 + dy, 2 + dx : 8 + dx])


@given(unit, unit)
def test_the_hole_is_a_rectangle_of_the_given_size(down: float, right: float) -> None:
    x = image(10, 10)
    hole = cut_out(x, pair(down), pair(right), 0.4)[0, 0] == 0
    rows, columns = hole.any(1), hole.any(0)
    top, left = int(down * 11) - 2, int(right * 11) - 2  # four pixels a side, round a middle on the image
    assert rows.nonzero().flatten().tolist() == [i for i in range(top, top + 4) if 0 <= i < 10]
    assert columns.nonzero().flatten().tolist() == [i for i in range(left, left + 4) if 0 <= i < 10]


def test_colours_by_hand() -> None:
    x = image()
    half = torch.full((2,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(change_colours(x, half, half, half), x)  # the middle of each range changes nothing
    torch.testing.assert_close(change_colours(x, 0 * half, half, half), x - 0.5)
    grey = change_colours(x, half, 0 * half, half)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    flat = change_colours(x, half, half, 0 * half)
    mean = x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(flat, mean + 0.5 * (x - mean))


def test_blur_keeps_constants_and_its_sum_of_weights() -> None:
    x = torch.full((1, 3, 9, 7), 0.3, dtype=torch.float64)
    torch.testing.assert_close(gaussian_blur(x, 1.5), x)
    dot = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    dot[..., 7, 7] = 1
    blurred = gaussian_blur(dot, 1.0)
    assert float(blurred.sum()) == pytest.approx(1)
    assert float(blurred[0, 0, 7, 8] / blurred[0, 0, 7, 7]) == pytest.approx(0.5)  # exp2(−1)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1e9])
def test_blur_takes_every_strength(sigma: float) -> None:
    x = image()
    assert gaussian_blur(x, sigma).shape == x.shape
    assert torch.equal(gaussian_blur(x, 0.3), x)  # less than a pixel


def test_probability_is_of_each_change() -> None:
    x = image()
    values = torch.full((7, 2), 0.9)
    draws = Draws(torch.tensor([0.2, 0.5, 0.7]), values)
    assert torch.equal(DiffAugment(probability=0.0)(x, draws=draws), x)
    moved = translate(x, values[0].to(x), values[1].to(x), 0.125)
    assert torch.equal(DiffAugment(probability=0.3)(x, draws=draws), moved)
    coloured = change_colours(moved, *values[2:5].to(x))
    assert torch.equal(DiffAugment(probability=0.6)(x, draws=draws), coloured)
    cut = cut_out(coloured, values[5].to(x), values[6].to(x), 0.2)
    assert torch.equal(DiffAugment()(x, draws=draws), cut)
    assert torch.equal(DiffAugment(cutout=0.0)(x, draws=draws), coloured)


def test_drawn_by_the_global_generator_and_differentiable() -> None:
    x = image().requires_grad_()
    torch.manual_seed(3)
    first = DiffAugment()(x, blur=0.5)
    torch.manual_seed(3)
    assert torch.equal(DiffAugment()(x, blur=0.5), first)
    assert not torch.equal(DiffAugment()(x, blur=0.5), first)
    torch.manual_seed(3)
    draws = Draws.new(2)
    torch.autograd.gradcheck(lambda y: DiffAugment()(y, blur=0.5, draws=draws), (x[:, :, :, :4],))
