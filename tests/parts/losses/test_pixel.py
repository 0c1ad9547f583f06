from __future__ import annotations

import pytest
import torch

from zellige.losses.pixel import PIXEL_LOSSES, pixel_loss

X, Y = torch.zeros(1, 3, 1, 2), torch.tensor([0.0, 2.0]).expand(1, 3, 1, 2)
BY_HAND = {"mse": 2.0, "l1": 1.0, "charbonnier": (1e-3 + (4 + 1e-6) ** 0.5) / 2}


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_terms_are_weighted_means_in_float32(name: str) -> None:
    term = pixel_loss(X.bfloat16(), Y.bfloat16(), {name: 3.0})[name]
    assert term.dtype == torch.float32
    assert float(term) == pytest.approx(3 * BY_HAND[name], rel=1e-6)


def test_terms_without_weight_are_left_out() -> None:
    assert set(pixel_loss(X, Y, {"mse": 1.0, "l1": 0.0})) == {"mse"}
