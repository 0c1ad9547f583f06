"""Places of tokens in the sequences of vision transformers.

Legend: N patches on a square of n × n, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import UsageError, nearest

POSITIONS = ("shared", "own")
"""Where latent tokens take their places from: the table of the patches, or one of their own."""


def latent_side(tokens: int, positions: str) -> int | None:
    """The side of the square that latent tokens form with shared positions; None with their own.

    Raises `UsageError` for a number that is no square, and for positions of another kind.
    """
    if positions not in POSITIONS:
        raise nearest(positions, list(POSITIONS), "kind of positions")
    side = math.isqrt(max(tokens, 0))
    if tokens < 1 or (positions == "shared" and side**2 != tokens):
        raise UsageError(f"with shared positions latent tokens form a square, which {tokens} do not")
    return side if positions == "shared" else None


def level_table(levels: int, channels: int) -> nn.Embedding:
    """A learned vector a part of the sequence, with the spread that VAR gives them: √(1 / 3C)."""
    table = nn.Embedding(levels, channels)
    nn.init.trunc_normal_(table.weight, std=math.sqrt(1 / channels / 3))
    return table


def resample_positions(table: Tensor, grid: int) -> Tensor:
    """A table of positions (1, 1 + n², C), class token first, for `grid` × `grid` patches: bicubic, antialiased."""
    side = round((table.shape[1] - 1) ** 0.5)
    if side == grid:
        return table
    patches = table[:, 1:].float().transpose(1, 2).unflatten(2, (side, side))
    resized = F.interpolate(patches, (grid, grid), mode="bicubic", antialias=True)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
