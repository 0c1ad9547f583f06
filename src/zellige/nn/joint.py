"""Blocks in which image and text attend to each other as one sequence, each with weights of its own (MM-DiT).

Esser et al., arXiv 2403.03206. Legend: B samples, N image tokens, T text tokens, C channels, H heads, D = C / H.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zellige.nn.attention import Attention
from zellige.nn.mlp import MLP
from zellige.nn.modulation import AdaptiveNorm, Modulation, modulate


class JointTransformer(nn.Module):
    """Image tokens that read a text, which changes with them from block to block.

    Args:
        dim: C.
        depth: blocks, of which the last one leaves the text as it is.
        heads: H.
        hidden: channels within the MLPs.
    """

    def __init__(self, dim: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.checkpointing = False
        self.blocks = nn.ModuleList(JointBlock(dim, heads, hidden, last=i == depth - 1) for i in range(depth))

    def forward(self, x: Tensor, text: Tensor, condition: Tensor, mask: Tensor | None = None) -> Tensor:
        """Image tokens (B, N, C), a text (B, T, C) and a condition (B, C) to image tokens (B, N, C).

        Args:
            mask: bool (B, T), true where there is text; None for all of it.
        """
        keys = None if mask is None else F.pad(mask.bool(), (0, x.shape[1]), value=True)[:, None, None]
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x, text = checkpoint(block, x, text, condition, keys, use_reentrant=False)
            else:
                x, text = block(x, text, condition, keys)
        return x


class Stream(nn.Module):
    """The weights of one of the two kinds of tokens: modulation, attention and MLP."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.modulation = Modulation(dim, 6)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.mlp = MLP(dim, hidden, activation="gelu-tanh")

    def finish(self, x: Tensor, attended: Tensor, gate: Tensor, mlp: Sequence[Tensor]) -> Tensor:
        """Tokens (B, N, C) after what their queries found, (B, H, N, D), and after the MLP."""
        shift, scale, mlp_gate = mlp
        x = x + gate * self.attention.out(attended.transpose(1, 2).flatten(2))
        return x + mlp_gate * self.mlp(modulate(self.norm2(x), shift, scale))


class JointBlock(nn.Module):
    """Joint attention of image and text, then the MLP of each, both modulated by a condition.

    Args:
        dim: C, with `heads` of attention and `hidden` channels within the MLPs.
        last: the text is only read, not changed: it has keys and values alone.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, last: bool = False) -> None:
        super().__init__()
        self.image = Stream(dim, heads, hidden)
        self.text = None if last else Stream(dim, heads, hidden)
        self.text_norm = AdaptiveNorm(dim) if last else None
        self.text_keys = nn.Linear(dim, 2 * dim) if last else None

    def forward(self, x: Tensor, text: Tensor, condition: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Image (B, N, C) and text (B, T, C) to the same; `keys` is bool (B, 1, 1, T + N), what may be seen."""
        shift, scale, gate, *mlp = self.image.modulation(condition)
        q, k, v = self.image.attention.project(modulate(self.image.norm1(x), shift, scale))
        if self.text is None:
            text_k, text_v = self._read(text, condition, q.shape[1])
            k, v = torch.cat([text_k, k], dim=2), torch.cat([text_v, v], dim=2)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
            return self.image.finish(x, attended, gate, mlp), text
        text_shift, text_scale, text_gate, *text_mlp = self.text.modulation(condition)
        theirs = self.text.attention.project(modulate(self.text.norm1(text), text_shift, text_scale))
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(theirs, (q, k, v), strict=True))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        of_text, of_image = attended.split([text.shape[1], x.shape[1]], dim=2)
        x = self.image.finish(x, of_image, gate, mlp)
        return x, self.text.finish(text, of_text, text_gate, text_mlp)

    def _read(self, text: Tensor, condition: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, T, D) of a text that has no queries."""
        assert self.text_norm is not None
        assert self.text_keys is not None
        pairs = self.text_keys(self.text_norm(text, condition)).unflatten(-1, (2 * heads, -1)).transpose(1, 2)
        text_k, text_v = pairs.chunk(2, dim=1)
        return text_k, text_v
