from __future__ import annotations

import math

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.generate.guidance import SCHEDULES, Guidance


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("constant", 5, 5), ("linear", 3, 5), ("half-linear", 5, 5), ("cosine", 3, 5), ("power-cosine", 3, 5)],
)
def test_schedules_at_start_middle_and_end(schedule: str, middle: float, end: float) -> None:
    guidance = Guidance(5, schedule)
    assert guidance.at(0) == (5 if schedule == "constant" else 1)
    assert guidance.at(0.5) == pytest.approx(middle)
    assert guidance.at(1) == pytest.approx(end)


def test_half_linear_rises_over_the_first_half() -> None:
    assert [Guidance(3, "half-linear").at(i / 4) for i in range(5)] == [1, 2, 3, 3, 3]


def test_power_cosine_begins_at_one_ends_below_its_scale_and_power_zero_is_constant() -> None:
    weights = [Guidance(16, "power-cosine", 2.75).at(i / 256) for i in range(256)]
    assert weights[0] == 1
    assert weights == sorted(weights)
    assert weights[128] == pytest.approx(1 + 15 * (1 - math.cos(math.pi * 0.5**2.75)) / 2)
    assert 15.9 < weights[-1] < 16
    assert [Guidance(16, "power-cosine", 0).at(p) for p in (0, 0.5, 1)] == [16, 16, 16]


def test_a_schedule_may_begin_higher_and_run_ahead() -> None:
    guide = Guidance(5.0, "linear", base=2.0, ahead=0.25)
    assert [guide.at(progress) for progress in (0.0, 0.5, 0.75)] == [2.75, 4.25, 5.0]


def test_outside_of_the_interval_there_is_none() -> None:
    guidance = Guidance(4, interval=(0.25, 0.5))
    assert [guidance.at(p) for p in (0, 0.25, 0.5, 0.51)] == [1, 4, 4, 1]


def test_halves_are_combined() -> None:
    conditional, null = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    both = torch.cat([conditional, null])
    assert Guidance(2).combine(both, 0).tolist() == [[5]]
    assert Guidance(0).combine(both, 0).tolist() == [[1]]
    assert Guidance(2, interval=(0.5, 1)).combine(both, 0).tolist() == [[3]]
    assert Guidance(1).combine(conditional, 0) is conditional
    assert Guidance(1).double(conditional) is conditional
    assert Guidance(2).double(conditional).tolist() == [[3], [3]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": -1}, "from 0 up"),
        ({"scale": float("nan")}, "from 0 up"),
        ({"scale": float("inf")}, "from 0 up"),
        ({"schedule": "cosin"}, "did you mean cosine"),
        ({"power": -1}, "power"),
        ({"interval": (1, 0)}, "interval"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Guidance(**settings)
    assert set(SCHEDULES) == {"constant", "linear", "half-linear", "cosine", "power-cosine"}
