from __future__ import annotations

import torch
from torch import nn

from zellige.nn.spectral import spectral_norm


def test_largest_singular_value_becomes_one() -> None:
    torch.manual_seed(0)
    conv = spectral_norm(nn.Conv2d(3, 6, 3)).train()
    for _ in range(50):
        weight = conv.weight
    assert abs(float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) - 1) < 1e-3


def test_evaluation_changes_no_state_and_training_does() -> None:
    torch.manual_seed(0)
    linear = spectral_norm(nn.Linear(4, 3))
    state = {k: v.clone() for k, v in linear.state_dict().items()}
    x = torch.ones(1, 4)
    assert torch.equal(linear.eval()(x), linear(x))
    assert all(torch.equal(v, state[k]) for k, v in linear.state_dict().items())
    linear.train()(x)
    assert any(not torch.equal(v, state[k]) for k, v in linear.state_dict().items())


def test_two_uses_before_one_backward_pass() -> None:
    """A discriminator sees originals and reconstructions before it is updated."""
    linear = spectral_norm(nn.Linear(4, 3)).train()
    x = torch.ones(2, 4)
    (linear(x).sum() - linear(2 * x).square().sum()).backward()
    assert bool(linear.parametrizations.weight.original.grad.abs().sum() > 0)


def test_scale_of_the_weight_does_not_matter() -> None:
    torch.manual_seed(0)
    linear = spectral_norm(nn.Linear(4, 3)).eval()
    before = linear.weight.detach()
    with torch.no_grad():
        linear.parametrizations.weight.original.mul_(7)
    torch.testing.assert_close(linear.weight.detach(), before)


def test_autocast_leaves_the_estimate_in_float32() -> None:
    torch.manual_seed(0)
    linear = spectral_norm(nn.Linear(64, 64)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        inside = linear.weight
    assert torch.equal(inside, linear.weight)
