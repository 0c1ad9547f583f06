"""From logits to ids. Legend: B samples, … positions, K codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.noise import Noise


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """All but the k largest of the last axis set to -∞; 0, or k above their number, keeps all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k, dim=-1).values[..., -1:], -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """All but the likeliest set to -∞, as many as it takes to reach the probability p (nucleus, arXiv 1904.09751).

    The code that crosses p is kept, so there is always one.
    """
    if p >= 1:
        return logits
    ordered, index = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    return logits.masked_fill(torch.zeros_like(logits, dtype=torch.bool).scatter(-1, index, before > p), -torch.inf)


def draw(logits: Tensor, noise: Noise) -> Tensor:
    """Ids (B, …) from softmax of logits (B, …, K), one uniform number an id.

    By the inverse of the cumulative distribution in float64, so that logits that differ in their last bits give
    the same id, but for rare draws at a boundary.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    level = noise.uniform(*logits.shape[1:-1], 1, dtype=torch.float64) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, level, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


@dataclass(frozen=True)
class Sampler:
    """Draws ids from logits: divided by the temperature, then the `top_k`, then the nucleus `top_p`.

    Attributes:
        temperature: 0 takes the likeliest id.
        top_k: codes to choose from; 0 for all.
        top_p: probability of the codes to choose from.

    Raises `UsageError` for values out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"the temperature is a number from 0 up; got {self.temperature}")
        if self.top_k < 0:
            raise UsageError(f"top_k is a number of codes, 0 for all; got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is a probability above 0, 1 for all codes; got {self.top_p}")

    def __call__(self, logits: Tensor, noise: Noise) -> Tensor:
        """Ids int64 (B, …) of logits (B, …, K)."""
        if self.temperature == 0:
            return logits.argmax(-1)
        return draw(self.filter(logits), noise)

    def filter(self, logits: Tensor) -> Tensor:
        """The logits that ids are drawn from, float32; the temperature is above 0."""
        return keep_top_p(keep_top_k(logits.float() / self.temperature, self.top_k), self.top_p)
