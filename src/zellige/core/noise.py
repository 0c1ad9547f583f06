"""`Noise`: random numbers of each sample by its own seed, whatever batch and device it is computed in.

A counter-based generator, SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in int64 arithmetic: number n of a sample
is a hash of its seed and n. All samples are drawn at once, and nothing depends on the global random state.
Legend: B samples.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from zellige.core.errors import UsageError

Seed = int | Sequence[int] | None
"""``s``: sample i has the seed s + i; a sequence: one seed a sample; None: seeds nobody has asked for."""


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


_STEP, _FIRST, _SECOND = (_signed(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_UNIFORM_BITS = {torch.float32: 23, torch.float64: 52}


def seeds_of(seed: Seed, count: int) -> list[int]:
    """The seeds of `count` samples; `UsageError` for a negative seed or another number of them."""
    if seed is None:
        return [secrets.randbits(32) for _ in range(count)]
    seeds = [seed + i for i in range(count)] if isinstance(seed, int) else [int(s) for s in seed]
    if len(seeds) != count:
        raise UsageError(f"{len(seeds)} seeds for {count} samples; give one seed, or one a sample")
    if min(seeds, default=0) < 0:
        raise UsageError(f"a seed is a number from 0 up; got {min(seeds)}")
    return seeds


class Noise:
    """Draws of B samples, (B, …); each call goes on where the one before has ended.

    Args:
        seeds: one a sample, from 0 up.
        device: where the draws are made.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._keys = _mix(torch.tensor([_signed(s) for s in seeds], dtype=torch.int64, device=device))
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._keys)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(B, *shape) in the open interval (0, 1), float32 or float64."""
        bits = _UNIFORM_BITS[dtype]
        return (_shift(self._bits(shape), 64 - bits).to(dtype) + 0.5) * 2.0**-bits

    def gumbel(self, *shape: int) -> Tensor:
        """(B, *shape) of the standard Gumbel distribution: argmax(logits + gumbel) draws from softmax(logits)."""
        return -torch.log(-torch.log(self.uniform(*shape)))

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) of N(0, 1), by the transform of Box and Muller."""
        radius, angle = self.uniform(2, *shape).unbind(1)
        return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * math.pi * angle)

    def _bits(self, shape: tuple[int, ...]) -> Tensor:
        count = math.prod(shape)
        index = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self._keys.device)
        self._drawn += count
        return _mix(self._keys[:, None] + index * _STEP).view(len(self), *shape)


def _shift(x: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills with zeros, which int64 has no operator for."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)
