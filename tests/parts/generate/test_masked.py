"""Unmasking: schedules, counts, what is kept, and draws that depend on the seed of a sample alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError
from zellige.core.noise import Noise
from zellige.generate.guidance import Guidance
from zellige.generate.masked import Unmasking, masked_cross_entropy, masked_share, random_masks, unmask
from zellige.generate.sampling import Sampler

LENGTH, CODES = 12, 7
ALL = torch.ones(3, LENGTH, dtype=torch.bool)
NOTHING = torch.zeros(3, LENGTH, dtype=torch.long)
LOGITS = torch.randn(3, LENGTH, CODES, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("schedule", ["cosine", "arccos", "linear", "log", "exp", "pow2", "pow0.5"])
def test_schedules_fall_from_all_to_none(schedule: str) -> None:
    share = masked_share(torch.linspace(0, 1, 33), schedule, 256)
    assert share[-1] <= 2e-6
    assert share[0] >= 0.99
    assert torch.all(share.diff() <= 0)


def test_schedules_half_way() -> None:
    half = torch.tensor(0.5, dtype=torch.float64)
    expected = {"cosine": math.sqrt(0.5), "arccos": 2 / 3, "linear": 0.5, "pow2": 0.75, "log": 1 / 8, "exp": 15 / 16}
    for schedule, share in expected.items():
        assert masked_share(half, schedule, 256).item() == pytest.approx(share)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "from 1 up"),
        ({"steps": 4, "schedule": "cosin"}, "did you mean cosine"),
        ({"steps": 4, "schedule": "pow"}, "masking schedule"),
        ({"steps": 4, "choice_temperature": -1.0}, "choice_temperature"),
        ({"steps": 4, "confidence": "logits"}, "did you mean logit"),
    ],
)
def test_wrong_plans_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Unmasking(**settings)


def test_the_number_of_masks_follows_the_schedule() -> None:
    first = torch.tensor([256])
    counts = [int(Unmasking(8).counts(i, first, first)) for i in range(7)]
    assert counts == [math.floor(256 * math.cos(math.pi * (i + 1) / 16)) for i in range(7)]
    assert int(Unmasking(12).counts(7, first, first)) == 128
    assert int(Unmasking(12, dtype=torch.float32).counts(7, first, first)) == 127  # 256 · 0.49999997


def test_each_step_makes_progress_unless_the_plan_says_otherwise() -> None:
    first, now = torch.tensor([16, 16]), torch.tensor([16, 1])
    assert Unmasking(64).counts(0, first, now).tolist() == [15, 1]
    assert Unmasking(64, progress=False).counts(0, first, now).tolist() == [15, 15]
    assert Unmasking(2, "exp", progress=False).counts(1, first, first).tolist() == [0, 0]


def test_the_temperature_and_the_spread_fall_with_what_is_left() -> None:
    plan = Unmasking(4, annealed=True, coldest=0.5)
    assert [plan.temperature(4.0, i) for i in range(4)] == [3.0, 2.0, 1.0, 0.5]
    assert [plan.temperature(0.0, i) for i in range(4)] == [0.0] * 4
    assert Unmasking(4).temperature(4.0, 3) == 4.0


def steps_of(plan: Unmasking, **changes: object) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    seen: list[tuple[Tensor, Tensor]] = []

    def predict(ids: Tensor, masked: Tensor) -> Tensor:
        seen.append((ids, masked))
        return LOGITS

    given = {"ids": NOTHING, "masked": ALL, "sampler": Sampler(0), "noise": Noise([1, 2, 3]), **changes}
    return unmask(predict, plan=plan, guidance=Guidance(), **given), seen  # type: ignore[arg-type]


def test_the_surest_are_kept_and_stay() -> None:
    plan = Unmasking(4)
    ids, seen = steps_of(plan)
    assert torch.equal(ids, LOGITS.argmax(-1))
    confidence = LOGITS.log_softmax(-1).amax(-1)
    for step, (given, masked) in enumerate(seen[1:]):
        count = math.floor(LENGTH * math.cos(math.pi / 2 * (step + 1) / 4))
        assert masked.sum(1).tolist() == [count] * 3
        worst_kept = confidence.masked_fill(masked, torch.inf).amin(1)
        assert torch.all(confidence.masked_fill(~masked, -torch.inf).amax(1) <= worst_kept)
        assert torch.equal(given[~masked], ids[~masked])
        assert not (masked & ~seen[step][1]).any()


def test_positions_that_are_known_stay_and_each_sample_has_its_own_number() -> None:
    masked = ALL.clone()
    masked[0, :6] = False
    given = torch.full_like(NOTHING, 5)
    ids, seen = steps_of(Unmasking(8), ids=given, masked=masked, start=2)
    assert len(seen) == 6
    assert torch.equal(ids[0, :6], given[0, :6])
    shares = math.cos(math.pi / 2 * 3 / 8)
    assert seen[1][1].sum(1).tolist() == [math.floor(6 * shares), *[math.floor(12 * shares)] * 2]


@pytest.mark.parametrize("confidence", ["probability", "logit"])
def test_samples_depend_on_their_seed_alone(confidence: str) -> None:
    plan = Unmasking(5, choice_temperature=3.0, confidence=confidence, annealed=True)
    together, _ = steps_of(plan, sampler=Sampler(2.0))
    again, _ = steps_of(plan, sampler=Sampler(2.0))
    assert torch.equal(together, again)
    alone = unmask(lambda ids, masked: LOGITS[1:2], NOTHING[:1], ALL[:1], plan, Guidance(), Sampler(2.0), Noise([2]))
    assert torch.equal(alone, together[1:2])
    other, _ = steps_of(plan, sampler=Sampler(2.0), noise=Noise([4, 5, 6]))
    assert not torch.equal(other, together)


def test_guidance_sees_both_halves_and_its_progress() -> None:
    shapes: list[tuple[int, ...]] = []

    def predict(ids: Tensor, masked: Tensor) -> Tensor:
        shapes.append(tuple(ids.shape))
        assert torch.equal(*ids.chunk(2))
        assert torch.equal(*masked.chunk(2))
        return torch.cat([LOGITS, -LOGITS])

    guided = unmask(predict, NOTHING, ALL, Unmasking(3), Guidance(0.0), Sampler(0), Noise([0, 1, 2]))
    assert shapes == [(6, LENGTH)] * 3
    assert torch.equal(guided, LOGITS.argmin(-1))


def test_masks_are_random_and_of_the_number_asked_for() -> None:
    torch.manual_seed(0)
    masks = random_masks(torch.tensor([1, 5, 12] * 200), LENGTH)
    assert masks.sum(1).tolist() == [1, 5, 12] * 200
    assert masks[::3].any(0).all()


def test_the_loss_counts_what_it_is_told_to() -> None:
    ids, weights = torch.randint(CODES, (3, LENGTH)), torch.rand(3, LENGTH)
    weights[0, 3:] = 0
    losses = F.cross_entropy(LOGITS.transpose(1, 2), ids, reduction="none", label_smoothing=0.2)
    whole = masked_cross_entropy(LOGITS, ids, weights, smoothing=0.2)
    torch.testing.assert_close(whole, (losses * weights).sum() / weights.sum())
    each = masked_cross_entropy(LOGITS, ids, weights, smoothing=0.2, each=True)
    torch.testing.assert_close(
        each, torch.stack([(x * w).sum() / w.sum() for x, w in zip(losses, weights, strict=True)]).mean()
    )
    assert not torch.isclose(each, whole)
