"""The network that predicts the velocity of noisy tokens, each given a vector that says what it is to become.

Legend: B samples, N tokens, D channels of the data, W channels of the head, C channels of the condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zellige.nn.attention import Attention, CrossAttention
from zellige.nn.mlp import MLP
from zellige.nn.modulation import AdaptiveNorm, Modulation, modulate
from zellige.nn.norm import RMSNorm
from zellige.nn.time import TimeEmbedding
from zellige.nn.transformer import Block, TransformerConfig


class FlowHead(nn.Module):
    """A small transformer, modulated at each token by time and condition (spatial adaLN of FlowAR, arXiv 2412.15205).

    Attributes:
        head_size: channels of a head of attention, for which rotary tables are made.

    Args:
        data: D.
        condition: C.
        width: W, of heads of 64 channels where it has several.
        depth: blocks.
        cross: blocks attend to the condition too (`CrossBlock`), and time alone modulates their self-attention.
    """

    def __init__(self, data: int, condition: int, width: int, depth: int, *, cross: bool = False) -> None:
        super().__init__()
        self.checkpointing, self.cross = False, cross
        heads = max(1, width // 64)
        self.head_size = width // heads
        config = TransformerConfig(
            width,
            depth,
            heads,
            hidden=8 * width // 3,
            norm="rms",
            affine=False,
            qkv_bias=False,
            gated=True,
            adaptive=True,
        )
        self.time = TimeEmbedding(width)
        self.condition = nn.Linear(condition, width)
        self.input = nn.Linear(data, width)
        self.blocks = nn.ModuleList(CrossBlock(config, condition) if cross else Block(config) for _ in range(depth))
        self.norm = AdaptiveNorm(width, norm="rms")
        self.output = nn.Linear(width, data)

    def forward(self, x: Tensor, times: Tensor, condition: Tensor, rotary: Tensor) -> Tensor:
        """Velocity (B, N, D) of noisy tokens.

        Args:
            x: (B, N, D).
            times: float32 (B,).
            condition: (B, N, C).
            rotary: table of the N tokens, see `rotary_table`.
        """
        dtype = self.input.weight.dtype
        x, time = self.input(x.to(dtype)), self.time(times)[:, None]
        modulation = self.condition(condition) + time
        beside = {"context": condition, "time": time} if self.cross else {}
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, modulation, rotary=rotary, **beside, use_reentrant=False)
            else:
                x = block(x, modulation, rotary=rotary, **beside)
        return self.output(self.norm(x, modulation))


class CrossBlock(nn.Module):
    """Self-attention modulated by the time, plain cross-attention to the condition, MLP modulated at each token.

    Args:
        config: numbers of the block; adaptive.
        context: C.
    """

    def __init__(self, config: TransformerConfig, context: int) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = RMSNorm(dim, config.eps, affine=False)
        self.attention = Attention(dim, config.heads, qkv_bias=config.qkv_bias)
        self.modulation1 = Modulation(dim, 3)
        self.norm2 = RMSNorm(dim, config.eps)
        self.context_norm = RMSNorm(context, config.eps)
        self.cross = CrossAttention(dim, config.heads, context, bias=config.qkv_bias is True)
        self.norm3 = RMSNorm(dim, config.eps, affine=False)
        self.mlp = MLP(dim, config.hidden or 4 * dim, activation=config.activation, gated=config.gated)
        self.modulation2 = Modulation(dim, 3)

    def forward(self, x: Tensor, modulation: Tensor, *, rotary: Tensor, context: Tensor, time: Tensor) -> Tensor:
        """(B, N, W) to the same, with the time (B, 1, W), a context (B, N, C) and time plus context (B, N, W)."""
        shift, scale, gate = self.modulation1(time)
        x = x + gate * self.attention(modulate(self.norm1(x), shift, scale), rotary=rotary)
        x = x + self.cross(self.norm2(x), self.context_norm(context), rotary=rotary, context_rotary=rotary)
        shift, scale, gate = self.modulation2(modulation)
        return x + gate * self.mlp(modulate(self.norm3(x), shift, scale))
