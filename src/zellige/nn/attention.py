"""Attention of tokens to one another, by the fused kernels of PyTorch.

Legend: B samples, H heads, N queries, S keys, C channels, D = C / H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import UsageError, nearest
from zellige.nn.cache import KVCache
from zellige.nn.linear import Linear
from zellige.nn.norm import make_norm
from zellige.nn.rope import apply_rotary

QK_NORMS = ("none", "layer", "rms", "cosine")


def causal_mask(tokens: int, past: int = 0, device: torch.device | None = None) -> Tensor:
    """Which of past + N keys each of N new tokens sees, bool (N, past + N): those up to itself."""
    return torch.ones(tokens, past + tokens, dtype=torch.bool, device=device).tril(past)


def block_causal_mask(sizes: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Bool (N, N) for blocks of tokens (scales, cells): a token sees its own block and those before it."""
    lengths = torch.tensor(sizes, device=device)
    block = torch.arange(len(sizes), device=device).repeat_interleave(lengths, output_size=sum(sizes))
    return block[:, None] >= block


class Attention(nn.Module):
    """Self-attention of many heads.

    Args:
        dim: C.
        heads: H, which divides C.
        kv_heads: heads of keys and values, each shared by equally many query heads; None for H.
        qkv_bias: of queries, keys and values; ``"qv"`` leaves the keys without, to which softmax is blind anyway.
        bias: of the output projection.
        qk_norm: of queries and keys within a head: ``none``, ``layer``, ``rms``, or ``cosine``, which makes them
            unit vectors and learns a temperature for each head (Henry et al., arXiv 2010.04245).
        eps: of `qk_norm`.
        dropout: of the output; ``attention_dropout`` of the attention weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        qkv_bias: bool | str = True,
        bias: bool = True,
        qk_norm: str = "none",
        eps: float = 1e-6,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        if heads < 1 or dim % heads or self.heads % self.kv_heads:
            raise UsageError(f"{dim} channels do not divide into {heads} heads ({self.kv_heads} of keys and values)")
        if qk_norm not in QK_NORMS:
            raise nearest(qk_norm, list(QK_NORMS), "norm of queries and keys")
        size = dim // heads
        self.qkv = Linear(dim, (heads + 2 * self.kv_heads) * size, bias=qkv_bias is True)
        partial = qkv_bias == "qv"
        self.q_bias = nn.Parameter(torch.zeros(heads * size)) if partial else None
        self.v_bias = nn.Parameter(torch.zeros(self.kv_heads * size)) if partial else None
        learned = qk_norm in ("layer", "rms")
        self.q_norm = make_norm(qk_norm, size, eps) if learned else None
        self.k_norm = make_norm(qk_norm, size, eps) if learned else None
        self.log_temperature = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4))) if qk_norm == "cosine" else None
        self.out = Linear(dim, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = attention_dropout

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        rotary: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        context: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """New tokens (B, N, C), which see themselves and what cache and context hold, to (B, N, C).

        Args:
            mask: bool, broadcast to (B, H, N, S), true where a query sees a key; None for all.
            causal: a token sees no later one; not together with `mask`.
            rotary: table of the new tokens, see `rotary_table`.
            cache: what earlier passes have kept of layer `layer`; the new tokens are added.
            context: further keys and values (B, kv heads, M, D), which come first and have no position.
        """
        q, k, v = self.project(x)
        if rotary is not None:
            q, k = apply_rotary(q, rotary), apply_rotary(k, rotary)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        if context is not None:
            k, v = torch.cat([context[0], k], dim=2), torch.cat([context[1], v], dim=2)
        past = k.shape[2] - q.shape[2]
        if causal and past:  # the kernels align a causal mask with the first key
            mask = causal_mask(q.shape[2], past, q.device) if q.shape[2] > 1 else None
        attended = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=causal and not past and q.shape[2] > 1,
            scale=None if self.log_temperature is None else 1.0,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.dropout(self.out(attended.transpose(1, 2).flatten(2)))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, N, C) to normalised queries (B, H, N, D), keys and values (B, kv heads, N, D) of one dtype."""
        qkv = self.qkv(x)
        if self.q_bias is not None and self.v_bias is not None:
            qkv = qkv + torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        heads = [self.heads, self.kv_heads, self.kv_heads]
        q, k, v = qkv.unflatten(-1, (sum(heads), -1)).transpose(1, 2).split(heads, dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.log_temperature is not None:
            scale = self.log_temperature.clamp(max=math.log(100)).exp()
            q, k = F.normalize(q, dim=-1) * scale, F.normalize(k, dim=-1)
        return q.to(v.dtype), k.to(v.dtype), v


class CrossAttention(nn.Module):
    """Attention of tokens to those of a context.

    Args:
        dim: C.
        heads: H.
        context: channels of the context.
        bias: of queries, keys and values; ``out_bias`` of the output projection.
        dropout: of the output; ``attention_dropout`` of the attention weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        context: int,
        *,
        bias: bool = True,
        out_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UsageError(f"{dim} channels do not divide into {heads} heads")
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=bias)
        self.kv = nn.Linear(context, 2 * dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=out_bias)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = attention_dropout

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        *,
        mask: Tensor | None = None,
        rotary: Tensor | None = None,
        context_rotary: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, N, C) and a context (B, S, …) to (B, N, C); tables and mask as in `Attention`."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(context).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, dim=1)
        if rotary is not None:
            q = apply_rotary(q, rotary)
        if context_rotary is not None:
            k = apply_rotary(k, context_rotary)
        dropout = self.attention_dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
