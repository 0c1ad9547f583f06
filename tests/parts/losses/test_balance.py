from __future__ import annotations

import pytest
import torch

from zellige.losses.balance import adaptive_weight


def layer(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_weight_is_the_ratio_of_the_gradients() -> None:
    w = layer(3.0, 4.0)
    weight = adaptive_weight(0.5 * w.square().sum(), 0.1 * w.sum(), w)  # gradients (3, 4) and (0.1, 0.1)
    assert float(weight) == pytest.approx(5 / (0.1 * 2**0.5 + 1e-4))
    assert not weight.requires_grad


def test_weight_stays_in_its_range() -> None:
    w = layer(1.0)
    assert float(adaptive_weight(1e9 * w.sum(), 0 * w.sum(), w)) == 1e4
    assert float(adaptive_weight(w.sum(), 1e-9 * w.sum(), w, maximum=7.0)) == 7
    assert float(adaptive_weight(0 * w.sum(), w.sum(), w)) == 0
    assert float(adaptive_weight(w.sum() * float("nan"), w.sum(), w)) == 0


def test_the_graph_is_left_for_the_backward_pass() -> None:
    w = layer(2.0)
    reconstruction, adversarial = w.square().sum(), w.pow(3).sum()
    weight = adaptive_weight(reconstruction, adversarial, w, eps=0.0)
    assert w.grad is None
    (reconstruction + weight * adversarial).backward()
    assert float(w.grad) == pytest.approx(4 + 4)  # the adversarial part pulls as hard as the other
