"""The transformer of all generators: blocks of attention and MLP, conditioned or not, cached or not.

Positions, masks and conditions are given from outside, so that one stack serves next-token, next-scale and masked
models. Legend: B samples, N tokens, C channels, F channels of the condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zellige.core.errors import UsageError
from zellige.nn.attention import Attention
from zellige.nn.cache import KVCache
from zellige.nn.mlp import MLP
from zellige.nn.modulation import Modulation, modulate, spread
from zellige.nn.norm import make_norm


@dataclass(frozen=True)
class TransformerConfig:
    """Numbers of a transformer.

    Attributes:
        dim: C.
        depth: blocks.
        heads: of attention; ``kv_heads`` of its keys and values, None for as many.
        hidden: channels of the MLP between its layers; None for 4·C.
        norm: ``layer`` or ``rms``; `affine` gives the norms weights.
        post_norm: normalise the sum after each branch, as BERT does, not the input of the branch.
        qkv_bias: of queries, keys and values, see `Attention`; ``bias`` of all other linear layers.
        qk_norm: see `Attention`.
        activation: see `MLP`; so is ``gated``.
        adaptive: each block is modulated by the condition (adaLN), of `condition` channels, None for C.
        dropout: of the output of each branch; ``attention_dropout`` of attention weights.
    """

    dim: int
    depth: int
    heads: int
    kv_heads: int | None = None
    hidden: int | None = None
    norm: str = "layer"
    affine: bool = True
    eps: float = 1e-6
    post_norm: bool = False
    qkv_bias: bool | str = True
    bias: bool = True
    qk_norm: str = "none"
    activation: str = "gelu"
    gated: bool = False
    adaptive: bool = False
    condition: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``; with a condition, both branches are modulated.

    Args:
        config: numbers of the block.
        modulation: maps a condition to six tensors, shift, scale, gate of attention and MLP; None for a
            `Modulation` of its own if the configuration is adaptive.
    """

    def __init__(self, config: TransformerConfig, modulation: nn.Module | None = None) -> None:
        super().__init__()
        if config.post_norm and config.adaptive:
            raise UsageError("adaLN modulates the input of a branch, which post_norm leaves as it is; choose one")
        self.post_norm = config.post_norm
        self.norm1 = make_norm(config.norm, config.dim, config.eps, affine=config.affine)
        self.attention = Attention(
            config.dim,
            config.heads,
            kv_heads=config.kv_heads,
            qkv_bias=config.qkv_bias,
            bias=config.bias,
            qk_norm=config.qk_norm,
            eps=config.eps,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
        )
        self.norm2 = make_norm(config.norm, config.dim, config.eps, affine=config.affine)
        self.mlp = MLP(
            config.dim,
            config.hidden or 4 * config.dim,
            activation=config.activation,
            gated=config.gated,
            bias=config.bias,
            dropout=config.dropout,
        )
        if modulation is None and config.adaptive:
            modulation = Modulation(config.dim, 6, config.condition)
        self.modulation = modulation

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        rotary: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """(B, N, C) to the same.

        A condition is (B, F), or (B, N, F) for each token, or (B, n, F) for n parts of equally many tokens.
        """

        def attend(x: Tensor) -> Tensor:
            return self.attention(x, mask=mask, causal=causal, rotary=rotary, cache=cache, layer=layer)

        if self.modulation is not None:
            parts = (spread(part, x.shape[1]) for part in self.modulation(condition))
            shift1, scale1, gate1, shift2, scale2, gate2 = parts
            x = x + gate1 * attend(modulate(self.norm1(x), shift1, scale1))
            return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))
        if self.post_norm:
            x = self.norm1(x + attend(x))
            return self.norm2(x + self.mlp(x))
        x = x + attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """A stack of blocks, without embedding and head.

    Attributes:
        checkpointing: in training, keep the inputs of the blocks alone and compute the rest again for the gradient.
    """

    def __init__(self, config: TransformerConfig, modulation: Callable[[], nn.Module] | None = None) -> None:
        """`modulation` makes that of each block, where it is another than the block's own, see `Block`."""
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.blocks = nn.ModuleList(Block(config, modulation() if modulation else None) for _ in range(config.depth))

    def cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` tokens."""
        return KVCache(len(self.blocks), capacity)

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        rotary: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, N, C) to the same through all blocks; the arguments are those of `Block`.

        With a cache the N tokens are new ones that follow its `length`; call its `advance` afterwards.
        """
        for layer, block in enumerate(self.blocks):
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, condition, mask=mask, causal=causal, rotary=rotary, use_reentrant=False)
            else:
                x = block(x, condition, mask=mask, causal=causal, rotary=rotary, cache=cache, layer=layer)
        return x
