"""KID, CMMD, Inception Score, precision and recall: against sums written out, and what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from zellige.core.errors import UsageError, ZelligeError
from zellige.metrics import neighbours
from zellige.metrics.discrepancy import KIDSubsets, cmmd, kernel_distance, measure_cmmd, squared_mmd
from zellige.metrics.inception_score import ADM, ONE_BLOCK, TORCH_FIDELITY, InceptionScore, ScoreBlocks, inception_score
from zellige.metrics.neighbours import Manifold, ManifoldConvention, precision_recall


def draw(count: int, dim: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (count, dim)))


def test_mmd_is_the_sum_over_pairs() -> None:
    x, y = draw(5, 3, 0), draw(4, 3, 1)

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return (a @ b / 3 + 1).item() ** 3

    def mean(a: torch.Tensor, b: torch.Tensor, *, skip: bool) -> float:
        return np.mean([k(u, v) for i, u in enumerate(a) for j, v in enumerate(b) if not (skip and i == j)])

    for estimator, skip in (("biased", False), ("unbiased", True)):
        want = mean(x, x, skip=skip) + mean(y, y, skip=skip) - 2 * mean(x, y, skip=False)
        assert squared_mmd(x, y, estimator=estimator) == pytest.approx(want)
    with pytest.raises(UsageError, match="u-statistic"):
        squared_mmd(x, y, estimator="u-statistic")


def test_unbiased_distance_of_halves_is_near_zero_and_of_others_is_not() -> None:
    subsets = KIDSubsets(count=20, size=100)
    near, spread = kernel_distance(draw(400, 8, 0), draw(400, 8, 1), subsets)
    far, _ = kernel_distance(draw(400, 8, 0), draw(400, 8, 1, shift=0.5), subsets)
    assert abs(near) < 2 * spread
    assert far > 5 * abs(near)


def test_cmmd_of_a_set_with_itself_is_zero() -> None:
    x = torch.nn.functional.normalize(draw(20, 8, 0))
    assert cmmd(x, x) == pytest.approx(0, abs=1e-9)
    assert cmmd(x, -x) > 0


def test_inception_score_runs_from_one_to_the_number_of_classes() -> None:
    sure = 1e4 * torch.eye(8).repeat(3, 1)
    assert inception_score(sure)[0] == pytest.approx(8)
    assert inception_score(torch.zeros(24, 8))[0] == pytest.approx(1)


def test_inception_score_depends_on_the_blocks() -> None:
    logits = 3 * draw(45, 10, 0)
    p = logits.softmax(1).numpy()
    want = math.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert inception_score(logits, ONE_BLOCK) == pytest.approx((want, 0))
    assert inception_score(logits, ADM) == inception_score(logits, ONE_BLOCK)
    parts = ScoreBlocks(size=20)
    assert [len(block) for block in parts.split(logits)] == [20, 20, 5]
    assert inception_score(logits, parts)[0] < want
    assert [len(block) for block in TORCH_FIDELITY.split(logits)] == [4, 5] * 5  # every sample counts
    with pytest.raises(UsageError, match="10 blocks"):
        inception_score(logits[:9], TORCH_FIDELITY)


def test_precision_and_recall_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[0.5], [1.5], [30.0], [31.0]])
    scores = precision_recall(real, fake, ManifoldConvention(neighbours=1))
    # Real balls reach 1, 1, 1 and 8; fake ones 1, 1, 1 and 1.
    assert scores.precision == 0.5
    assert scores.recall == 0.75
    assert scores.density == pytest.approx((2 + 2) / 4)
    assert scores.coverage == 0.75
    assert scores.f_score == pytest.approx(0.6)


def test_the_rim_counts_unless_strict() -> None:
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[-1.0], [-1.5], [-9.0]])
    for strict, want in ((False, 1 / 3), (True, 0.0)):
        assert precision_recall(real, fake, ManifoldConvention(1, strict=strict)).precision == pytest.approx(want)


@pytest.mark.parametrize("convention", [neighbours.TORCH_FIDELITY, neighbours.ADM, neighbours.PRDC])
def test_tiles_change_nothing(convention: ManifoldConvention, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = draw(60, 6, 0).float(), draw(50, 6, 1).float()
    whole = precision_recall(real, fake, convention)
    monkeypatch.setattr(neighbours, "_TILE", 7 * 60)
    assert precision_recall(real, fake, convention) == whole
    assert 0 < whole.precision <= 1


def test_half_precision_falls_back_where_it_overflows() -> None:
    real, fake = 300 * draw(40, 6, 0), 300 * draw(30, 6, 1)
    half, full = (precision_recall(real, fake, c) for c in (neighbours.ADM, neighbours.TORCH_FIDELITY))
    assert (half.precision, half.recall) == pytest.approx((full.precision, full.recall), abs=0.04)


def test_too_few_points_for_neighbours() -> None:
    with pytest.raises(UsageError, match="more than 3 points"):
        Manifold.of(torch.ones(3, 2))


def test_inception_score_as_a_metric() -> None:
    logits = draw(40, 10, 0)
    whole, first, second = InceptionScore(ONE_BLOCK), InceptionScore(ONE_BLOCK), InceptionScore(ONE_BLOCK)
    whole.update(logits)
    first.update(logits[:15])
    second.update(logits[15:])
    first.merge(second)
    assert first.compute() == whole.compute()
    assert whole.compute()[0].protocol.samples == 40
    assert len({blocks.describe() for blocks in (ADM, TORCH_FIDELITY, ONE_BLOCK)}) == 3
    with pytest.raises(ZelligeError, match="no logits"):
        InceptionScore().compute()


def test_cmmd_has_a_record() -> None:
    x, y = draw(20, 8, 0), draw(12, 8, 1)
    m = measure_cmmd(x, y, network="CLIP")
    assert m.value == cmmd(x, y)
    assert (m.protocol.samples, m.protocol.conditions) == (12, "20 references")
