from __future__ import annotations

import math

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.losses.adversarial import (
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    r1_penalty,
)

REAL = torch.tensor([2.0, 0.5], dtype=torch.float64)
FAKE = torch.tensor([-3.0, 1.0, 0.0], dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


BY_HAND = {
    "hinge": 0.5 * ((0 + 0.5) / 2 + (0 + 2 + 1) / 3),
    "leaky-hinge": 0.5 * ((-0.01 + 0.5) / 2 + (-0.02 + 2 + 1) / 3),
    "vanilla": 0.5 * ((softplus(-2) + softplus(-0.5)) / 2 + (softplus(-3) + softplus(1) + softplus(0)) / 3),
    "wasserstein": -2 / 3 - 1.25,
    "swapped": 0.5 * (softplus(1) - 1.25 + math.log(2)),
}


@pytest.mark.parametrize("kind", DISCRIMINATOR_LOSSES)
def test_discriminator_losses_are_those_computed_by_hand(kind: str) -> None:
    assert float(discriminator_loss(REAL, FAKE, kind)) == pytest.approx(BY_HAND[kind], abs=1e-14)


def test_generator_losses_are_those_computed_by_hand() -> None:
    assert float(generator_loss(FAKE)) == pytest.approx(2 / 3, abs=1e-14)
    by_hand = (softplus(3) + softplus(-1) + softplus(0)) / 3
    assert float(generator_loss(FAKE, "non-saturating")) == pytest.approx(by_hand, abs=1e-14)


@pytest.mark.parametrize("kind", sorted(set(DISCRIMINATOR_LOSSES) - {"swapped"}))
def test_discriminators_are_pushed_apart(kind: str) -> None:
    """Down the gradient, logits of originals rise and those of reconstructions fall."""
    real, fake = (torch.zeros(4, requires_grad=True) for _ in range(2))
    discriminator_loss(real, fake, kind).backward()
    assert bool((real.grad < 0).all())
    assert bool((fake.grad > 0).all())


@pytest.mark.parametrize("kind", GENERATOR_LOSSES)
def test_generators_want_higher_logits(kind: str) -> None:
    fake = torch.zeros(4, requires_grad=True)
    generator_loss(fake, kind).backward()
    assert bool((fake.grad < 0).all())


def test_half_precision_logits_are_averaged_in_float32() -> None:
    fake = torch.full((1000,), 1.0).bfloat16()
    fake[0] = 1.125
    assert float(generator_loss(fake)) == pytest.approx(-1.000125, abs=1e-6)


def test_unknown_kinds_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean hinge"):
        discriminator_loss(REAL, FAKE, "hing")
    with pytest.raises(UsageError, match="non-saturating"):
        generator_loss(FAKE, "nonsaturating")


def test_r1_penalty_of_a_quadratic_is_half_the_squared_slope() -> None:
    """D(x) = a·x²/2 has the slope a·x, and the penalty the derivative a·Σx²/B in a."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    a = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(x, (a * x.square() / 2).sum(dim=1))
    assert penalty.item() == pytest.approx(0.5 * 4 * (5 + 25) / 2)
    penalty.backward()
    assert float(a.grad) == pytest.approx(2 * (5 + 25) / 2)


def test_feature_matching_moves_the_reconstruction_only() -> None:
    real = [torch.ones(2, 3, requires_grad=True), torch.zeros(2, 5, requires_grad=True)]
    fake = [torch.zeros(2, 3, requires_grad=True), torch.full((2, 5), 4.0, requires_grad=True)]
    loss = feature_matching_loss(real, fake)
    assert loss.item() == 1 + 4
    loss.backward()
    assert all(x.grad is None for x in real)
    assert all(bool(x.grad.abs().sum() > 0) for x in fake)
