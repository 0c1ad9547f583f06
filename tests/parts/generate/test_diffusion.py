"""Diffusion of tokens, beside its definition and beside a distribution whose best network is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.noise import Noise
from zellige.generate.diffusion import STEPS, Posterior, cosine_signal, diffusion_loss, sample_diffusion, spaced_steps

SPREAD, MEAN = 0.5, 0.3


def ideal(x: Tensor, steps: Tensor) -> Tensor:
    """The expected noise in x_t of data from N(MEAN, SPREAD²), and the lower bound of the variance."""
    signal = cosine_signal().float()[steps][..., None]
    total = signal * SPREAD**2 + 1 - signal
    noise = (1 - signal).sqrt() * (x - signal.sqrt() * MEAN) / total
    return torch.cat([noise, -torch.ones_like(noise)], dim=-1)


def test_the_signal_is_a_squared_cosine_that_ends_near_nothing() -> None:
    signal = cosine_signal()
    at = [math.cos((t / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 1, 400, 998)]
    assert signal[[0, 399, 997]].tolist() == pytest.approx([value / at[0] for value in at[1:]])
    assert signal[-1] == pytest.approx(0.001 * float(signal[-2]))  # no step takes more than 0.999


def test_steps_reach_from_the_first_to_the_last() -> None:
    assert spaced_steps(4, 10) == [0, 3, 6, 9]
    assert spaced_steps(21)[9:12] == [450, 499, 549]  # ten strides of 49.95 sum to a little less than 499.5
    assert spaced_steps(STEPS) == list(range(STEPS))
    assert spaced_steps(1) == [0]
    for wrong in (0, STEPS + 1):
        with pytest.raises(UsageError, match="diffusion_steps is a number from 1 to 1000"):
            spaced_steps(wrong)


def test_the_way_back_is_that_of_the_forward_process() -> None:
    """Noise to a step, then back by the posterior, is noise to the step before: means and variances agree."""
    taken = spaced_steps(20)
    process, signal = Posterior(taken, torch.device("cpu")), cosine_signal()[taken]
    for place in (1, 7, 19):
        index = torch.tensor([[place]])
        zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        of_data, of_noisy = process.back(one, zero, index).item(), process.back(zero, one, index).item()
        now, before = signal[place].item(), signal[place - 1].item()
        assert of_data + of_noisy * math.sqrt(now) == pytest.approx(math.sqrt(before), rel=1e-4)
        variance = of_noisy**2 * (1 - now) + process.lowest(index).exp().item()
        assert variance == pytest.approx(1 - before, rel=1e-4)


def test_samples_of_the_ideal_network_have_the_distribution_of_the_data() -> None:
    noise = Noise(range(2000))
    drawn = sample_diffusion(ideal, noise.normal(1, 1), 200, noise)
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.05)
    assert drawn.std().item() == pytest.approx(SPREAD, rel=0.05)


def test_guidance_and_temperature() -> None:
    def two(x: Tensor, steps: Tensor) -> Tensor:
        """Of the conditional half data lie 0.3 higher."""
        wanted, null = x.chunk(2)
        assert torch.equal(wanted, null)
        return torch.cat(
            [ideal(wanted, steps.chunk(2)[0]), ideal(null + 0.3 * signal(steps.chunk(2)[0]), steps.chunk(2)[0])]
        )

    def signal(steps: Tensor) -> Tensor:
        return cosine_signal().float()[steps][..., None].sqrt()

    def drawn(predict, **options) -> Tensor:  # type: ignore[no-untyped-def]
        noise = Noise(range(500))
        return sample_diffusion(predict, noise.normal(1, 1), 50, noise, **options)

    plain, guided = drawn(ideal), drawn(two, guidance=2.0)
    assert guided.mean() - plain.mean() == pytest.approx(0.3, abs=0.03)
    assert drawn(ideal, temperature=0.5).std() < 0.8 * plain.std()


def test_clipping_holds_a_network_that_is_off_at_pure_noise() -> None:
    def off(x: Tensor, steps: Tensor) -> Tensor:
        return ideal(x, steps) + 0.2 * (steps > 900)[..., None]

    def drawn(**options: float) -> Tensor:
        noise = Noise(range(200))
        return sample_diffusion(off, noise.normal(1, 1), 50, noise, **options)

    largest = MEAN + 4 * SPREAD
    assert drawn().mean() < MEAN - 2 * SPREAD  # led away by what is divided by a signal of nearly nothing
    assert drawn(clip=largest).mean().item() == pytest.approx(MEAN, abs=0.1)
    assert drawn(clip=0.1).abs().max() <= 0.1
    with pytest.raises(UsageError, match="clip is the largest number to expect"):
        drawn(clip=-1.0)


def test_the_loss_is_least_for_the_ideal_network_and_its_bound_teaches_the_variance_alone() -> None:
    torch.manual_seed(0)
    data, noise = MEAN + SPREAD * torch.randn(1, 4000, 1), torch.randn(1, 4000, 1)
    steps = torch.randint(STEPS, (1, 4000))
    best = diffusion_loss(ideal, data, steps, noise)
    for change in (0.2, -0.2):
        other = diffusion_loss(lambda x, at, change=change: ideal(x, at) + change, data, steps, noise)
        assert other.mean() > best.mean()
    output = torch.zeros(1, 4000, 2, requires_grad=True)
    diffusion_loss(lambda x, at: output, data, steps, noise).sum().backward()
    assert output.grad is not None
    torch.testing.assert_close(output.grad[..., :1], -2 * noise)  # of the squared error, with no part of the bound
    assert output.grad[..., 1].abs().min() > 0
