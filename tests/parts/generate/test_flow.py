"""Flows: times, both samplers on a field whose path is known, guidance, and the loss."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.noise import Noise
from zellige.generate.flow import GRIDS, flow_loss, flow_times, sample_flow


@pytest.mark.parametrize("grid", GRIDS)
def test_times_fall_from_one_to_zero(grid: str) -> None:
    times = flow_times(12, grid)
    assert times.dtype == torch.float64
    assert (float(times[0]), float(times[-1])) == (1, 0)
    assert all(after < now for now, after in pairwise(times.tolist()))
    with pytest.raises(UsageError, match="steps or more"):
        flow_times(0, grid)


def test_grids() -> None:
    assert flow_times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert flow_times(25, "two-speed").shape == (25,)  # 12 points down to 0.3, 13 from 0.25
    torch.testing.assert_close(flow_times(4, "two-speed"), torch.tensor([1, 0.3, 0.25, 0.125, 0]).double())
    torch.testing.assert_close(flow_times(3, "stop-short"), torch.tensor([1, 0.52, 0.04, 0]).double())
    with pytest.raises(UsageError, match="grid of flow times"):
        flow_times(4, "even")


@pytest.mark.parametrize(("stochastic", "grid"), [(False, "uniform"), (False, "two-speed"), (True, "stop-short")])
def test_noise_flows_to_the_distribution_of_the_data(stochastic: bool, grid: str) -> None:
    """Data from N(2, ½²), whose velocity is known: that of a joint normal distribution of x_t and ε - x."""

    def velocity(x: Tensor, t: float) -> Tensor:
        slope = (t - 0.25 * (1 - t)) / (t**2 + 0.25 * (1 - t) ** 2)
        return -2 + slope * (x - 2 * (1 - t))

    noise = Noise(range(40))
    start, times = noise.normal(100, 2), flow_times(100, grid)
    found = sample_flow(velocity, start, times, noise=noise if stochastic else None)
    assert found.mean().item() == pytest.approx(2, abs=0.05)
    assert found.std().item() == pytest.approx(0.5, abs=0.05)
    moved = (found - 2) / 0.5 - start
    assert (moved.abs().max().item() > 1) == stochastic  # the deterministic path keeps the order of the noise


def test_guidance_is_within_its_times_and_costs_nothing_outside() -> None:
    rows: list[tuple[float, int]] = []

    def velocity(x: Tensor, time: float) -> Tensor:
        rows.append((time, len(x)))
        v = torch.full_like(x, 1.0)
        v[2:] = 3.0  # without condition
        return v

    start, times = torch.zeros(2, 1, 1), flow_times(4)
    found = sample_flow(velocity, start, times, guidance=5.0, guided=(0.0, 0.5))
    assert rows == [(1.0, 2), (0.75, 2), (0.5, 4), (0.25, 4)]
    torch.testing.assert_close(found, torch.full_like(start, -0.5 * 1 - 0.5 * (3 + 5 * (1 - 3))))
    rows.clear()
    sample_flow(velocity, start, times, guidance=1.0)
    assert {n for _, n in rows} == {2}


def test_the_loss_is_zero_for_the_true_velocity() -> None:
    data, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    times = torch.rand(2, 3)
    true = flow_loss(lambda x: (x - data) / times[..., None], data, times, noise)
    torch.testing.assert_close(true, torch.zeros(2, 3), rtol=0, atol=1e-6)
    nothing = flow_loss(torch.zeros_like, data, times, noise)
    torch.testing.assert_close(nothing, (noise - data).square().mean(-1))
