"""Rotary positions (Su et al., arXiv 2104.09864) along one axis or several.

Adjacent channels form a pair that is turned by an angle proportional to the position. With several axes each one
has an equal share of the pairs, the first axis first. Legend: N tokens, A axes, D channels of a head, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.precision import at_least_float32


def grid_positions(shape: Sequence[int]) -> Tensor:
    """Coordinates of the cells of a grid in raster order, (N, A)."""
    axes = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    return torch.stack(axes, dim=-1).reshape(-1, len(shape))


def rotary_table(positions: Tensor, dim: int, base: float = 10000.0) -> Tensor:
    """Cosine and sine of each token and pair, float32 (N, D / 2, 2).

    Args:
        positions: (N, A), or (N,) for one axis; they need not be integers.
        dim: D, which 2·A must divide.
        base: frequencies of an axis fall from 1 towards 1 / base.
    """
    positions = positions.float().reshape(len(positions), -1)
    axes = positions.shape[1]
    if dim % (2 * axes):
        raise UsageError(f"rotary positions on {axes} axes need heads of a multiple of {2 * axes} channels, not {dim}")
    share = dim // axes
    frequencies = base ** (-torch.arange(0, share, 2, device=positions.device).float() / share)
    angles = (positions[:, :, None] * frequencies).flatten(1)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def apply_rotary(x: Tensor, table: Tensor) -> Tensor:
    """Turn queries or keys (B, H, N, D) by a table (N, D / 2, 2), or one for each sample (B, 1, N, D / 2, 2)."""
    first, second = at_least_float32(x).unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table.unbind(-1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2).to(x.dtype)
