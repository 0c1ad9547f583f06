"""A transformer in two stages, with positions told to each anew: the trunk of xAR and FlowAR.

    x ─ + positions ─ norm ─ blocks ─ norm ─ linear ─ + positions ─ blocks ─ norm

Legend: B samples, N tokens, L positions, C channels, F channels of the condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.nn.cache import KVCache
from zellige.nn.norm import RMSNorm
from zellige.nn.transformer import Transformer, TransformerConfig

Caches = tuple[KVCache, KVCache]


def stage(dim: int, depth: int, heads: int, dropout: float) -> TransformerConfig:
    """Numbers of a stage as released: blocks without weights in their norms, with gated MLPs, modulated."""
    return TransformerConfig(
        dim,
        depth,
        heads,
        hidden=8 * dim // 3,
        norm="rms",
        affine=False,
        gated=True,
        adaptive=True,
        dropout=dropout,
        attention_dropout=dropout,
    )


class StagedTransformer(nn.Module):
    """Two transformers, the second of which is told the positions once more.

    Args:
        first: numbers of the first stage; ``second`` of the second, of the same width.
        positions: L.
    """

    def __init__(self, first: TransformerConfig, second: TransformerConfig, positions: int) -> None:
        super().__init__()
        self.places = nn.ParameterList(nn.Parameter(torch.empty(1, positions, first.dim)) for _ in range(2))
        self.norm_in = RMSNorm(first.dim, first.eps)
        self.first = Transformer(first)
        self.norm_middle = RMSNorm(first.dim, first.eps)
        self.middle = nn.Linear(first.dim, second.dim)
        self.second = Transformer(second)
        self.norm_out = RMSNorm(second.dim, second.eps)
        for table in self.places:
            nn.init.normal_(table, std=0.02)

    def caches(self) -> Caches:
        """Empty caches of all positions, one a stage."""
        length = self.places[0].shape[1]
        return self.first.cache(length), self.second.cache(length)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        *,
        mask: Tensor | None = None,
        rotary: Tensor | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """(B, N, C) to the same, as `Transformer.forward`.

        With caches the N tokens follow those they hold, and it is for the caller to advance both.
        """
        start = 0 if caches is None else caches[0].length
        slots = slice(start, start + x.shape[1])
        early, late = (None, None) if caches is None else caches
        x = self.norm_in(x + self.places[0][:, slots])
        x = self.norm_middle(self.first(x, condition, mask=mask, rotary=rotary, cache=early))
        x = self.middle(x) + self.places[1][:, slots]
        return self.norm_out(self.second(x, condition, mask=mask, rotary=rotary, cache=late))
