"""Bjøntegaard deltas against scipy's interpolators, and overlap of masks by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from zellige.core.errors import UsageError
from zellige.metrics.bjontegaard import RateCurve, bd_quality, bd_rate, measure_gap
from zellige.metrics.interpolate import akima, pchip
from zellige.metrics.masks import MaskIoU

values = st.lists(st.floats(-5, 5).map(lambda y: round(y, 3)), min_size=3, max_size=8)


@given(values, st.integers(0, 1000))
def test_interpolators_are_scipys(y: list[float], seed: int) -> None:
    x = np.cumsum(np.random.default_rng(seed).uniform(0.1, 1, len(y)))
    low, high = x[0] + 0.05, x[-1] - 0.05
    for ours, theirs in ((pchip, PchipInterpolator), (akima, Akima1DInterpolator)):
        want = float(theirs(x, np.array(y)).integrate(low, high))
        assert ours(x, np.array(y)).integral(low, high) == pytest.approx(want, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("method", ["cubic", "pchip", "akima"])
def test_a_codec_at_half_the_rate_saves_half(method: str) -> None:
    anchor = RateCurve([0.1, 0.2, 0.4, 0.8, 1.6], [25, 28, 31, 35, 38])
    half = RateCurve(np.array(anchor.rate) / 2, anchor.quality)
    assert bd_rate(anchor, half, method) == pytest.approx(-50)
    assert bd_rate(half, anchor, method) == pytest.approx(100)
    better = RateCurve(anchor.rate, np.array(anchor.quality) + 1.5)
    assert bd_quality(anchor, better, method) == pytest.approx(1.5)
    reversed_order = RateCurve(half.rate[::-1], half.quality[::-1])
    assert bd_rate(anchor, reversed_order, method) == pytest.approx(-50)


def test_curves_without_an_answer_are_refused() -> None:
    curve = RateCurve([0.1, 0.2, 0.4], [25, 28, 31])
    with pytest.raises(UsageError, match="share no range"):
        bd_rate(curve, RateCurve([0.1, 0.2], [40, 45]))
    with pytest.raises(UsageError, match="four points"):
        bd_rate(curve, curve, "cubic")
    with pytest.raises(UsageError, match="same position"):
        bd_rate(curve, RateCurve([0.1, 0.2, 0.3], [25, 28, 28]))
    for rate, quality in (([0.0, 1.0], [20, 30]), ([1.0], [20]), ([1.0, 2.0], [20, np.inf]), ([1.0, 2.0], [20])):
        with pytest.raises(UsageError, match="curve needs"):
            bd_rate(curve, RateCurve(rate, quality))


def test_gaps_have_records() -> None:
    jpeg = RateCurve([0.1, 0.2, 0.4, 0.8], [25, 28, 31, 35])
    ours = RateCurve([0.05, 0.1, 0.2, 0.4], [25, 28, 31, 35])
    rate, gain = measure_gap(jpeg, ours, names=("JPEG", "ours"), interpolation="pchip")
    assert (rate.value, rate.protocol.unit) == (pytest.approx(-50), "%")
    assert (gain.protocol.key, gain.protocol.unit) == ("bd_psnr/ours_against_jpeg", "dB")
    assert "pchip" in gain.protocol.definition


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.zeros(3, 4, 4, dtype=torch.uint8)
    target[0, :2] = 1
    target[2, 0] = 255
    prediction = torch.zeros_like(target)
    prediction[0, 1:3] = 1
    prediction[2, 0] = 1  # on ignored pixels only
    return prediction, target


def test_overlap_by_hand() -> None:
    metric = MaskIoU(smoothing=0.0)
    values = metric.update(*masks())
    assert values.tolist() == pytest.approx(np.array([[4 / 12, 4 / 12], [1, 1], [1, 1]]))
    found = {(m.protocol.metric, m.protocol.variant): m.value for m in metric.compute()}
    assert found["cIoU", "class 1 of 2"] == pytest.approx(4 / 12)
    assert found["cIoU", "class 0 of 2"] == pytest.approx((4 + 16 + 12) / (12 + 16 + 12))
    assert found["gIoU", "class 1 of 2"] == pytest.approx((1 / 3 + 2) / 3)


def test_masks_merge() -> None:
    whole, first, second = MaskIoU(), MaskIoU(), MaskIoU()
    prediction, target = masks()
    whole.update(prediction, target)
    first.update(prediction[1:], target[1:])
    second.update(prediction[:1], target[:1])
    first.merge(second)
    assert [m.value for m in first.compute()] == pytest.approx([m.value for m in whole.compute()])
    with pytest.raises(UsageError, match="masks are"):
        whole.update(prediction, target[:, :2])
