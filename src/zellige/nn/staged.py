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


class StagedTransformer(nn.Module):
    """Two transformers of gated, modulated blocks; the second is told the positions anew.

    Args:
        dim: C.
        depths: blocks of each stage.
        heads: of attention, or a pair, those of each stage.
        positions: L.
        hidden: channels within the MLP; None for ⌊8·C / 3⌋.
        dropout: of branches and attention weights.
    """

    def __init__(
        self,
        dim: int,
        depths: tuple[int, int],
        heads: int | tuple[int, int],
        positions: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        first, second = (
            TransformerConfig(
                dim,
                depth,
                count,
                hidden=hidden or 8 * dim // 3,
                norm="rms",
                affine=False,
                gated=True,
                adaptive=True,
                dropout=dropout,
                attention_dropout=dropout,
            )
            for depth, count in zip(depths, heads if isinstance(heads, tuple) else (heads, heads), strict=True)
        )
        self.places = nn.ParameterList(nn.Parameter(torch.empty(1, positions, dim)) for _ in range(2))
        self.norm_in = RMSNorm(dim)
        self.first = Transformer(first)
        self.norm_middle = RMSNorm(dim)
        self.middle = nn.Linear(dim, dim)
        self.second = Transformer(second)
        self.norm_out = RMSNorm(dim)
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
        rotary: Tensor | tuple[Tensor, Tensor] | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """(B, N, C) to the same, as `Transformer.forward`; of a pair of rotary tables each stage has its own.

        With caches the N tokens follow those they hold, and it is for the caller to advance both.
        """
        start = 0 if caches is None else caches[0].length
        slots = slice(start, start + x.shape[1])
        early, late = caches or (None, None)
        turns = rotary if isinstance(rotary, tuple) else (rotary, rotary)
        x = self.norm_in(x + self.places[0][:, slots])
        x = self.norm_middle(self.first(x, condition, mask=mask, rotary=turns[0], cache=early))
        x = self.middle(x) + self.places[1][:, slots]
        return self.norm_out(self.second(x, condition, mask=mask, rotary=turns[1], cache=late))
