"""Diffusion of single tokens by a small network (DDPM with learned variances, arXiv 2102.09672; MAR, 2406.11838).

A token x becomes noise in T steps, ``x_t = √s_t · x + √(1 - s_t) · ε``, with a signal s_t that falls along a cosine.
The network predicts ε, and where the variance of the way back lies between its two bounds. Sampling takes some of
the steps. Legend: B samples, N tokens, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate, repeat

import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.noise import Noise

STEPS = 1000
"""T."""
Predict = Callable[[Tensor, Tensor], Tensor]
"""Noisy tokens (B, N, D) and their steps, int64 (B, N), to noise and place of the variance, (B, N, 2D)."""


def cosine_signal(steps: int = STEPS) -> Tensor:
    """s after each step, float64 (T,); no step takes more than 0.999 of it."""
    at = torch.cos((torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return (at[1:] / at[:-1]).clamp(min=1 - 0.999).cumprod(0)


def spaced_steps(count: int, steps: int = STEPS) -> list[int]:
    """`count` of the steps, from 0 to the last, as far apart as may be; `UsageError` for a number out of range."""
    if not 1 <= count <= steps:
        raise UsageError(f"diffusion_steps is a number from 1 to {steps}; got {count}")
    stride = (steps - 1) / (count - 1) if count > 1 else 1.0
    return [round(at) for at in accumulate(repeat(stride, count - 1), initial=0.0)]  # sums, as the original rounds them


class Posterior:
    """The Gaussians that lead back from a step to the one before it among those that are taken.

    Args:
        taken: steps of the process, ascending.
        device: of the tables.
    """

    def __init__(self, taken: list[int], device: torch.device) -> None:
        self.taken = torch.tensor(taken, device=device)
        signal = cosine_signal()[taken]
        before = torch.cat([torch.ones(1, dtype=torch.float64), signal[:-1]])
        lost = 1 - signal / before
        shortest = lost * (1 - before) / (1 - signal)
        bounds = torch.cat([shortest[1:2] if len(taken) > 1 else lost[:1], shortest[1:]]).log(), lost.log()
        tables = (
            signal.sqrt(),
            (1 - signal).sqrt(),
            lost * before.sqrt() / (1 - signal),
            (1 - before) * (1 - lost).sqrt() / (1 - signal),
            *bounds,
        )
        self.tables = torch.stack(tables).float().to(device)

    def noisy(self, data: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """x_t (B, N, D) of data at places `index` (B, N) among the steps that are taken."""
        signal, spread = self.tables[:2, index, None]
        return signal * data + spread * noise

    def back(self, data: Tensor, x: Tensor, index: Tensor) -> Tensor:
        """The mean one step before x_t, where the data are known."""
        of_data, of_noisy = self.tables[2:4, index, None]
        return of_data * data + of_noisy * x

    def predicted(self, output: Tensor, x: Tensor, index: Tensor, clip: float = 0.0) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the step before x_t, by the output (B, N, 2D) of the network.

        The data that it implies are kept within ±`clip`; 0 leaves them.
        """
        noise, place = output.float().chunk(2, dim=-1)
        signal, spread = self.tables[:2, index, None]
        low, high = self.tables[4:6, index, None]
        share = (place + 1) / 2
        data = (x - spread * noise) / signal
        data = data.clamp(-clip, clip) if clip else data
        return self.back(data, x, index), share * high + (1 - share) * low

    def lowest(self, index: Tensor) -> Tensor:
        """Log-variance (B, N, 1) of the step before, where the data are known."""
        return self.tables[4, index, None]


def diffusion_loss(predict: Predict, data: Tensor, index: Tensor, noise: Tensor) -> Tensor:
    """Squared error of the noise plus the variational bound in bits, (B, N); the bound teaches the variance alone.

    Args:
        predict: the network.
        data: (B, N, D), of a variance near 1.
        index: step of each token, int64 (B, N), below `STEPS`.
        noise: N(0, 1), (B, N, D).
    """
    process = Posterior(list(range(STEPS)), data.device)
    x = process.noisy(data, noise, index)
    output = predict(x, index).float()
    error = (output.chunk(2, dim=-1)[0] - noise).square().mean(-1)
    fixed = torch.cat([output.chunk(2, dim=-1)[0].detach(), output.chunk(2, dim=-1)[1]], dim=-1)
    mean, variance = process.predicted(fixed, x, index)
    truth = process.lowest(index)
    distance = (process.back(data, x, index) - mean).square()
    divergence = 0.5 * (variance - truth - 1 + (truth - variance).exp() + distance * (-variance).exp())
    last = -_log_chance(data - mean, 0.5 * variance, data)
    bound = torch.where(index[..., None] == 0, last, divergence).mean(-1) / math.log(2)
    return error + bound


def sample_diffusion(
    predict: Predict,
    start: Tensor,
    steps: int,
    noise: Noise,
    *,
    guidance: float = 1.0,
    temperature: float = 1.0,
    clip: float = 0.0,
) -> Tensor:
    """From noise to tokens, float32 (B, N, D), in `steps` of the T steps.

    Args:
        predict: the network. With guidance it is given 2B rows, the conditional ones first; else B.
        start: N(0, 1), (B, N, D).
        steps: how many are taken.
        noise: draws of each step, of the B samples.
        guidance: w of ``null + w · (conditional - null)`` for the predicted noise; variances are the conditional ones.
        temperature: of the draws.
        clip: largest number that a step may take the data for, 0 for any. The first steps divide by a signal of nearly
            nothing, so that a network that is off by a little at pure noise is led far away.

    Raises `UsageError` for a number of steps or a clip out of range.
    """
    if clip < 0:
        raise UsageError(f"clip is the largest number to expect, or 0 for any; got {clip:g}")
    process, x = Posterior(spaced_steps(steps), start.device), start.float()
    for place in reversed(range(steps)):
        index = torch.full(x.shape[:2], place, device=x.device)
        at = process.taken[index]
        if guidance == 1:
            output = predict(x, at)
        else:
            output, null = predict(torch.cat([x, x]), torch.cat([at, at])).float().chunk(2)
            (wanted, variance), (other, _) = output.chunk(2, dim=-1), null.chunk(2, dim=-1)
            output = torch.cat([other + guidance * (wanted - other), variance], dim=-1)
        x, variance = process.predicted(output, x, index, clip)
        if place:
            x = x + temperature * (0.5 * variance).exp() * noise.normal(*x.shape[1:])
    return x


def _log_chance(error: Tensor, deviation: Tensor, data: Tensor) -> Tensor:
    """Log-chance of the 1/127.5 around each number, as if data were 8-bit pixels from -1 to 1, ends open.

    `deviation` is the logarithm of the standard deviation. Latents are no pixels; the released models learned so.
    """
    scale, half = (-deviation).exp(), 1 / 255
    above, below = _cumulative(scale * (error + half)), _cumulative(scale * (error - half))
    inside = torch.where(data < -0.999, above, torch.where(data > 0.999, 1 - below, above - below))
    return inside.clamp(min=1e-12).log()


def _cumulative(x: Tensor) -> Tensor:
    """Of the normal distribution, by the approximation with a hyperbolic tangent."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
