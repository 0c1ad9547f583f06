"""How strength falls over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zellige.core.errors import UsageError
from zellige.latent.anneal import Annealing


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_it_never_rises_and_ends_at_the_ratio(ratio: float, first: float, second: float) -> None:
    annealing = Annealing(0.2, 0.6, ratio)
    early, late = sorted((first, second))
    assert annealing.factor(early) >= annealing.factor(late) - 1e-12
    assert annealing.factor(0.2) == 1
    assert annealing.factor(0.6) == pytest.approx(ratio)
    assert annealing.factor(1.0) == ratio


def test_the_official_formula_agrees_at_a_half_and_jumps_elsewhere() -> None:
    for at in (0.0, 0.3, 0.5, 0.6, 0.9):
        assert Annealing(formula="official").factor(at) == pytest.approx(Annealing().factor(at))
    jumping = Annealing(0, 1, 0.25, "official")
    assert jumping.factor(1) == 0.75
    assert jumping.factor(1.001) == 0.25


def test_strength_never_asks_for_no_neighbour() -> None:
    assert Annealing(0, 0.5, 0.0).strength(0.9, alpha=1.0, delta=100) == (0.0, 1)
    assert Annealing(40, 120, 0.5).strength(80, alpha=1.0, delta=101) == (0.75, 75)


def test_a_sudden_fall() -> None:
    sudden = Annealing(0.5, 0.5, 0.1)
    assert (sudden.factor(0.5), sudden.factor(0.51)) == (1.0, 0.1)


@pytest.mark.parametrize("wrong", [{"start": 0.7}, {"start": -1}, {"ratio": 1.5}, {"formula": "offical"}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Annealing(**wrong)
