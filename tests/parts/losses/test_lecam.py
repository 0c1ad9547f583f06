from __future__ import annotations

import pytest
import torch

from zellige.losses.lecam import LeCAM

REAL, FAKE = torch.tensor([1.0, 3.0]), torch.tensor([[-1.0], [0.0]])


def test_averages_and_penalty_are_those_computed_by_hand() -> None:
    lecam = LeCAM(decay=0.9)
    lecam.update(REAL, FAKE)
    lecam.update(REAL, FAKE)
    real, fake = 2 * 0.19, -0.5 * 0.19  # 1 − 0.9² of the means
    assert float(lecam.real) == pytest.approx(real)
    assert float(lecam.fake) == pytest.approx(fake)
    by_hand = ((1 - fake) ** 2 + (3 - fake) ** 2) / 2 + ((real + 1) ** 2 + real**2) / 2
    assert float(lecam(REAL, FAKE)) == pytest.approx(by_hand)


def test_logits_on_the_right_side_are_left_alone() -> None:
    assert float(LeCAM()(torch.tensor([-1.0]), torch.tensor([2.0]))) == 0


def test_state_is_saved() -> None:
    lecam, other = LeCAM(), LeCAM()
    lecam.update(REAL, FAKE)
    other.load_state_dict(lecam.state_dict())
    assert float(lecam.real) != 0
    assert torch.equal(other(REAL, FAKE), lecam(REAL, FAKE))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_leaves_the_averages(bad: float) -> None:
    lecam = LeCAM()
    lecam.update(REAL, FAKE)
    before = float(lecam.real), float(lecam.fake)
    lecam.update(REAL, torch.tensor([bad, 0.0]))
    assert (float(lecam.real), float(lecam.fake)) == before


def test_averages_take_no_part_in_the_graph() -> None:
    lecam = LeCAM()
    logits = torch.zeros(3, requires_grad=True)
    lecam.update(logits, logits)
    lecam(logits + 1, logits).backward()
    assert not lecam.real.requires_grad
    assert bool((logits.grad > 0).all())
