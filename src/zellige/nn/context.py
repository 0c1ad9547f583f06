"""A transformer block whose tokens see one another and, by keys and values of its own, a context that stays as it is.

Legend: B samples, N tokens, M tokens of the context, C channels, H heads, D = C / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.nn.attention import Attention
from zellige.nn.mlp import MLP
from zellige.nn.modulation import Modulation, modulate
from zellige.nn.norm import make_norm


class ContextBlock(nn.Module):
    """``x + attention([context; x])``, then ``x + mlp(x)``, all modulated by a condition (adaLN).

    Tokens and context have their own modulation, and their own keys and values (as in ENAT, arXiv 2411.06959).

    Args:
        dim: C, of tokens, context and condition.
        heads: H.
        hidden: channels of the MLP between its layers.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm_context, self.norm2 = (make_norm("layer", dim, affine=False) for _ in range(3))
        self.attention = Attention(dim, heads)
        self.context = nn.Linear(dim, 2 * dim)
        self.mlp = MLP(dim, hidden, activation="gelu-tanh")
        self.modulation = Modulation(dim, 8)

    def forward(self, x: Tensor, condition: Tensor, context: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C), a condition (B, C) and a context (B, M, C) to (B, N, C)."""
        shift1, scale1, shift_context, scale_context, gate1, shift2, scale2, gate2 = self.modulation(condition)
        pair = None
        if context is not None:
            projected = self.context(modulate(self.norm_context(context), shift_context, scale_context))
            pair = tuple(projected.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4))
        x = x + gate1 * self.attention(modulate(self.norm1(x), shift1, scale1), context=pair)
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


def split_by(groups: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Positions (B, count) of each group 0, 1, …, in order, of groups (B, L) that have as many in every sample."""
    return groups.argsort(dim=1, stable=True).split(counts, dim=1)


def take(x: Tensor, positions: Tensor) -> Tensor:
    """Rows `positions` (B, N) of x (B, L, C): (B, N, C)."""
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


def put(parts: tuple[Tensor, ...], positions: tuple[Tensor, ...]) -> Tensor:
    """The inverse of `take`: parts (B, N, C) at positions (B, N) that make up 0 … L - 1 together, to (B, L, C)."""
    whole, places = torch.cat(parts, dim=1), torch.cat(positions, dim=1)
    return torch.empty_like(whole).scatter(1, places[..., None].expand_as(whole), whole)
