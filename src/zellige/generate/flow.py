"""Sampling of flows (rectified flow, arXiv 2209.03003; stochastic, SiT, arXiv 2401.08740).

Between data x and noise ε lies ``x_t = (1 - t)·x + t·ε``, and a network predicts its velocity ``v = ε - x``. Sampling
follows v from t = 1 down to 0. Legend: B samples, N tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError, nearest
from zellige.core.noise import Noise

Velocity = Callable[[Tensor, float], Tensor]
GRIDS = ("uniform", "two-speed", "stop-short")


def flow_times(steps: int, grid: str = "uniform") -> Tensor:
    """The times at which a velocity is asked for, and at last 0; float64, falling from 1.

    Args:
        steps: their number but for the rounding of ``two-speed``, at least 1 (``two-speed``: 2).
        grid: ``uniform``; ``two-speed``, half of the steps down to 0.3, the others from 0.25 on, as FlowAR has it;
            or ``stop-short``, down to 0.04 and from there to 0 in one step, which a stochastic sampler needs.

    Raises `UsageError` for too few steps or an unknown grid.
    """
    if grid not in GRIDS:
        raise nearest(grid, list(GRIDS), "grid of flow times")
    least = 2 if grid == "two-speed" else 1
    if steps < least:
        raise UsageError(f"a flow is sampled in {least} steps or more; got {steps}")

    def line(start: float, end: float, count: int) -> Tensor:
        return torch.linspace(start, end, count, dtype=torch.float64)

    if grid == "two-speed":
        return torch.cat([line(1, 0.3, steps // 2), line(0.25, 0, steps // 2 + 1)])
    return line(1, 0, steps + 1) if grid == "uniform" else torch.cat([line(1, 0.04, steps), line(0, 0, 1)])


def sample_flow(
    velocity: Velocity,
    start: Tensor,
    times: Tensor,
    *,
    guidance: float = 1.0,
    guided: tuple[float, float] = (0.0, 1.0),
    noise: Noise | None = None,
) -> Tensor:
    """From noise to data, (B, N, D) of the dtype of `start`; steps of Euler's method, added up in float64.

    Args:
        velocity: x_t and t to v. With guidance x_t has 2B rows, the conditional ones first; else B.
        start: N(0, 1), (B, N, D).
        times: see `flow_times`.
        guidance: w of ``null + w · (conditional - null)``.
        guided: the times, ends included, at which there is guidance; at others the network sees B rows.
        noise: draws of the stochastic sampler (Euler and Maruyama, diffusion 2t); None for the deterministic one.
    """
    x = start.double()
    for now, after in pairwise(times.tolist()):
        both = guidance != 1 and guided[0] <= now <= guided[1]
        at = x.to(start.dtype)
        v = velocity(torch.cat([at, at]) if both else at, now).double()
        if both:
            conditional, null = v.chunk(2)
            v = null + guidance * (conditional - null)
        step = after - now
        if noise is None:
            x = x + step * v
        else:
            x = x + step * ((2 - now) * v + x)  # v less t times the score, which is -((1 - t)·v + x) / t
            if after > 0:
                x = x + (2 * now * -step) ** 0.5 * noise.normal(*x.shape[1:])
    return x.to(start.dtype)


def flow_loss(velocity: Callable[[Tensor], Tensor], data: Tensor, times: Tensor, noise: Tensor) -> Tensor:
    """Squared error of the predicted velocity, (B, N), mean over channels.

    Args:
        velocity: x_t (B, N, D) to v.
        data: (B, N, D).
        times: t of each token, (B, N) or (B, 1).
        noise: ε.
    """
    t = times[..., None]
    predicted = velocity((1 - t) * data + t * noise)
    return F.mse_loss(predicted.float(), noise - data, reduction="none").mean(-1)
