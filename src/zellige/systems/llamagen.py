"""LlamaGen (Sun et al., arXiv 2406.06525): the Llama decoder, unchanged, over the codes of an image.

    class or text ─ prefix ┐
    x_1 … x_{L-1} ─ embed ─┴─ causal transformer (RMSNorm, SwiGLU, 2D rotary positions) ─ head ─ x_1 … x_L

The condition is a prefix: one vector of a class, or the projected features of a text. Its queries and keys are
multiplied by zero, as in the released models, whose position table has zeros there: image tokens attend to all of the
prefix alike. Legend: B samples, T prefix tokens, L image tokens, K codes, C channels, F text channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import Tokens, TokenSpec, layout_size
from zellige.generate.ar import next_tokens
from zellige.generate.config import SAMPLING, GeneratorConfig, one_block_of_codes
from zellige.nn.attention import causal_mask
from zellige.nn.linear import Linear
from zellige.nn.mlp import MLP
from zellige.nn.modulation import ClassEmbedding, init_normal
from zellige.nn.norm import RMSNorm
from zellige.nn.rope import grid_positions, rotary_table
from zellige.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True)
class LlamaGenConfig(GeneratorConfig):
    """GPT-B on the codes of a 256×256 image, conditioned on a class.

    Attributes:
        dim: C.
        depth: blocks; ``heads`` of attention, ``kv_heads`` of its keys and values, None for as many.
        hidden: channels within the MLP; None for ⌊8·C / 3⌋ rounded up to a multiple of 256.
        text_dim: F of the text features that condition it, in place of classes; 0 for classes.
        text_tokens: T of a text; shorter ones are padded on the left.
        dropout: of embeddings and of both branches of a block.
    """

    codebook: tuple[int, ...] = (16384,)
    guidance: float = 2.0
    dim: int = 768
    depth: int = 12
    heads: int = 12
    kv_heads: int | None = None
    hidden: int | None = None
    text_dim: int = 0
    text_tokens: int = 120
    dropout: float = 0.1


def default_hidden(dim: int) -> int:
    """Channels within the MLP of the released models."""
    return -(-(8 * dim // 3) // 256) * 256


class LlamaGen(Generator):
    """Next-token prediction in raster order over a grid, or in the order of a sequence."""

    config_class: ClassVar[type] = LlamaGenConfig
    system = "llamagen"
    sampling = SAMPLING
    config: LlamaGenConfig
    rotary: Tensor

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__(config)
        self.settings_for(config.spec)
        if config.text_dim and config.classes:
            raise UsageError(f"{self.system} is conditioned on classes or on text; set classes=0 or text_dim=0")
        self.spec, self.classes, self.text_dim = config.spec, config.classes, config.text_dim
        self.length, self.prefix = self._count(), config.text_tokens if config.text_dim else 1
        self.embedding = nn.Embedding(config.codebook[0], config.dim)
        self.condition: ClassEmbedding | TextPrefix = (
            TextPrefix(config.text_dim, config.text_tokens, config.dim, config.class_dropout)
            if config.text_dim
            else ClassEmbedding(config.classes, config.dim, config.class_dropout)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(
            TransformerConfig(
                config.dim,
                config.depth,
                config.heads,
                config.kv_heads,
                hidden=config.hidden or default_hidden(config.dim),
                norm="rms",
                eps=1e-5,
                qkv_bias=False,
                bias=False,
                activation="silu",
                gated=True,
                dropout=config.dropout,
            )
        )
        self.norm = RMSNorm(config.dim, eps=1e-5)
        self.head = Linear(config.dim, config.codebook[0], bias=False)
        self.register_buffer("rotary", self._rotary(), persistent=False)
        init_normal(self)
        nn.init.zeros_(self.head.weight)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_block_of_codes(spec, cls.system, (1, 2))

    def logits(self, ids: Tensor, condition: Tensor | TextFeatures | None) -> Tensor:
        """Logits (B, L, K) of each of the ids (B, L), given those before it and the condition."""
        prefix, valid = self._prefix(condition, len(ids))
        x = self.dropout(torch.cat([prefix, self._embed(ids[:, :-1])], dim=1))
        tokens = x.shape[1]
        mask = None if valid is None else _padded_causal_mask(valid, tokens, 0)
        x = self.transformer(x, causal=mask is None, mask=mask, rotary=self.rotary[:tokens])
        return self._unembed(x[:, self.prefix - 1 :])

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        logits = self.logits(tokens.data, condition)
        return {"cross_entropy": F.cross_entropy(logits.flatten(0, 1).float(), tokens.data.flatten())}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: LlamaGenConfig) -> Tensor:
        guidance = settings.guide()
        prefix, valid = self._prefix(condition, len(noise))
        if guidance.active:
            without = torch.full((len(noise),), self.classes, device=self.device)
            prefix = torch.cat([prefix, self._prefix(None if self.text_dim else without, len(noise))[0]])
            valid = None if valid is None else guidance.double(valid)  # padding is hidden from both halves
        cache = self.transformer.cache(self.prefix + self.length)

        def predict(previous: Tensor | None, position: int) -> Tensor:
            x = prefix if previous is None else self._embed(previous)[:, None]
            new, past = x.shape[1], cache.length
            mask = None if valid is None else _padded_causal_mask(valid, new, past)
            rotary = self.rotary[past : past + new]
            x = self.transformer(x, causal=mask is None, mask=mask, rotary=rotary, cache=cache)
            cache.advance(new)
            return self._unembed(x[:, -1])

        return next_tokens(predict, self.length, guidance, settings.sampler(), noise)

    def _count(self) -> int:
        """Positions of the transformer behind the prefix."""
        return layout_size(self.config.layout)

    def _embed(self, ids: Tensor) -> Tensor:
        """Ids (…) to what the transformer reads, (…, C)."""
        return self.embedding(ids)

    def _unembed(self, x: Tensor) -> Tensor:
        """What the transformer made of positions, (…, C), to logits (…, K) of the ids that follow them."""
        return self.head(self.norm(x))

    def _rotary(self) -> Tensor:
        """Table of rotary positions of prefix and tokens."""
        table = rotary_table(grid_positions(self.config.layout[0]), self.config.dim // self.config.heads)
        return torch.cat([torch.zeros_like(table[:1]).expand(self.prefix, -1, -1), table])

    def _prefix(self, condition: Tensor | TextFeatures | None, count: int) -> tuple[Tensor, Tensor | None]:
        """The prefix (B, T, C), and which of it is text, bool (B, T); None for all of it."""
        if isinstance(self.condition, TextPrefix):
            assert not isinstance(condition, Tensor)
            return self.condition(condition, count)
        return self.condition(condition)[:, None], None


class TextPrefix(nn.Module):
    """Text features (B, ≤ T, F) to the prefix (B, T, C); learned features stand for no text.

    Args:
        features: F.
        tokens: T.
        dim: C.
        dropout: share of the texts that training leaves out.
    """

    def __init__(self, features: int, tokens: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.project = MLP(features, dim, activation="gelu-tanh", bias=False, out=dim)
        self.null = nn.Parameter(torch.randn(tokens, features) / features**0.5)

    def forward(self, text: TextFeatures | None, count: int) -> tuple[Tensor, Tensor | None]:
        """Prefix of `count` samples, and their mask."""
        if text is None:
            return self.project(self.null).expand(count, -1, -1), None
        text = self._padded(text)
        features = text.features.to(self.null.dtype)
        if self.training and self.dropout:
            dropped = torch.rand(len(features), 1, 1, device=features.device) < self.dropout
            features = torch.where(dropped, self.null, features)
        return self.project(features), text.mask

    def _padded(self, text: TextFeatures) -> TextFeatures:
        length, most = text.features.shape[1], len(self.null)
        if length > most:
            raise UsageError(f"this model takes texts of up to {most} tokens; one here has {length}: shorten it")
        if length == most:
            return text
        everywhere = torch.ones(text.features.shape[:2], dtype=torch.bool, device=text.features.device)
        mask = everywhere if text.mask is None else text.mask.bool()
        return TextFeatures(F.pad(text.features, (0, 0, most - length, 0)), F.pad(mask, (most - length, 0)))


def _padded_causal_mask(valid: Tensor, tokens: int, past: int) -> Tensor:
    """As `causal_mask`, bool (B, 1, tokens, past + tokens), with padding of the prefix seen by itself alone."""
    seen = causal_mask(tokens, past, valid.device)
    itself = seen & ~causal_mask(tokens, past, valid.device).tril(past - 1)
    text = F.pad(valid.bool(), (0, past + tokens - valid.shape[1]), value=True)
    return (seen & text[:, None, None]) | itself
