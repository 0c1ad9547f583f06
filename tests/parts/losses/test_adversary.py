from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.losses.adversarial import discriminator_loss, generator_loss
from zellige.losses.adversary import Adversary, ramp
from zellige.losses.augment import DiffAugment
from zellige.losses.balance import adaptive_weight
from zellige.losses.discriminators.patch import PatchDiscriminator


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def adversary(**settings: object) -> Adversary:
    torch.manual_seed(0)
    return Adversary(PatchDiscriminator(4, 2, norm="group"), **settings)


def test_terms_are_those_of_the_logits() -> None:
    made = adversary(lecam=0.5)
    real, fake = images(0), images(1)
    terms = made(real, fake)
    a, b = made.discriminator(real), made.discriminator(fake)
    torch.testing.assert_close(terms["discriminator"], discriminator_loss(a, b))
    torch.testing.assert_close(terms["lecam"], 0.5 * made.lecam(a, b))
    assert float(made.lecam.real) != 0
    torch.testing.assert_close(terms["logits_fake"], b.detach().mean())
    torch.testing.assert_close(made.judge(fake), generator_loss(b))
    assert set(adversary()(real, fake)) == {"discriminator", "logits_real", "logits_fake"}


def test_the_discriminator_step_moves_the_discriminator_only() -> None:
    made, fake = adversary(lecam=0.1), images(1).requires_grad_()
    terms = made(images(), fake)
    (terms["discriminator"] + terms["lecam"]).backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in made.parameters())


def test_the_generator_step_moves_the_reconstruction_only() -> None:
    made, fake = adversary(augment=DiffAugment(), lecam=0.1), images(1).requires_grad_()
    state = {k: v.clone() for k, v in made.state_dict().items()}
    made.judge(fake).backward()
    assert bool(fake.grad.abs().sum() > 0)
    assert all(p.grad is None and p.requires_grad for p in made.parameters())
    assert all(torch.equal(v, state[k]) for k, v in made.state_dict().items())


def test_weights_are_trained_again_after_an_error() -> None:
    made = adversary(generator="no such loss")
    with pytest.raises(UsageError, match="no such loss"):
        made.judge(images())
    assert all(p.requires_grad for p in made.parameters())


def test_augmentation_and_blur_reach_both_kinds() -> None:
    plain, augmented = adversary(), adversary(augment=DiffAugment(probability=0.0))
    x, y = images(0), images(1)
    assert torch.equal(augmented(x, y)["discriminator"], plain(x, y)["discriminator"])
    blurred = augmented(x, y, blur=1.0)
    assert blurred["logits_real"] != plain(x, y)["logits_real"]
    assert blurred["logits_fake"] != plain(x, y)["logits_fake"]
    assert augmented.judge(y, blur=1.0) != plain.judge(y)


def test_ramp() -> None:
    assert [ramp(step, 2) for step in range(5)] == [0, 0, 1, 1, 1]
    assert [ramp(step, 2, 3) for step in range(7)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]


def run(steps: range, state: dict[str, Any] | None = None) -> tuple[list[float], dict[str, Any]]:
    """A linear "autoencoder" against its adversary, from a saved state if one is given."""
    torch.manual_seed(1)
    decoder, made = torch.nn.Conv2d(3, 3, 1), adversary(augment=DiffAugment(), lecam=0.01)
    optimizer, other = torch.optim.AdamW(decoder.parameters(), lr=1e-2), torch.optim.AdamW(made.parameters(), lr=1e-3)
    parts = {"decoder": decoder, "adversary": made, "optimizer": optimizer, "adversary optimizer": other}
    for name, part in parts.items() if state else ():
        part.load_state_dict(state[name])
    losses = []
    for step in steps:
        torch.manual_seed(step)
        x = images(step)
        fake = decoder(x)
        reconstruction, adversarial = (fake - x).square().mean(), made.judge(fake)
        weight = ramp(step, 1) * adaptive_weight(reconstruction, adversarial, decoder.weight)
        optimizer.zero_grad()
        (reconstruction + weight * adversarial).backward()
        optimizer.step()
        other.zero_grad()
        terms = made(x, fake)
        (terms["discriminator"] + terms["lecam"]).backward()
        other.step()
        losses += [reconstruction.item(), adversarial.item(), terms["discriminator"].item()]
    return losses, {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}


def test_a_saved_adversary_goes_on_to_the_last_bit() -> None:
    first, state = run(range(4))
    assert first + run(range(4, 8), state)[0] == run(range(8))[0]
