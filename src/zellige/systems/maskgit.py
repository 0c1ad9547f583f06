"""MaskGIT (Chang et al., arXiv 2202.04200): a bidirectional transformer that guesses masked tokens.

    class, x with masks ─ embed + position ─ LayerNorm ─ transformer (LayerNorm after each branch)
        ─ head, tied to the embedding ─ x

The class is a token like others, in front. No class is the mask in its place: the released weights have not seen
that, ours are trained with it. Legend: B samples, L image tokens, K codes, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.tokens import Tokens
from zellige.generate.masked import (
    Conditioned,
    MaskedConfig,
    MaskedGenerator,
    Unmasking,
    masked_cross_entropy,
    masked_share,
    random_masks,
)
from zellige.nn.modulation import drop_labels, init_normal, width_std
from zellige.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True)
class MaskGITConfig(MaskedConfig):
    """The generator of 256×256 images.

    Attributes:
        dim: C.
        depth: blocks, with ``heads`` of attention and ``hidden`` channels in their MLP.
        dropout: of embeddings and branches; ``attention_dropout`` of attention weights.
    """

    dim: int = 768
    depth: int = 24
    heads: int = 16
    hidden: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1

    def unmasking(self) -> Unmasking:
        return Unmasking(self.steps, self.masking, self.choice_temperature, dtype=torch.float32)


class MaskGIT(MaskedGenerator):
    """Masked tokens from those that are seen, all at once."""

    config_class: ClassVar[type] = MaskGITConfig
    system = "maskgit"
    config: MaskGITConfig

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__(config)
        dim = config.dim
        self.mask = self.codes + config.classes  # after codes and classes comes the mask
        self.embedding = nn.Embedding(self.mask + 1, dim)
        self.positions = nn.Parameter(torch.zeros(1 + self.length, dim))
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(
            TransformerConfig(
                dim,
                config.depth,
                config.heads,
                hidden=config.hidden,
                eps=1e-12,
                post_norm=True,
                activation="gelu-tanh",
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            )
        )
        self.head = nn.Linear(dim, dim)
        self.head_norm = nn.LayerNorm(dim, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(self.mask + 1))
        std = width_std(dim, 768)
        init_normal(self, std, truncated=True)
        nn.init.trunc_normal_(self.positions, std=std)

    def scores(self, sequence: Tensor) -> Tensor:
        """Logits (B, 1 + L, K + classes + 1) of each position of a sequence of rows of the embedding (B, 1 + L)."""
        x = self.dropout(self.norm(self.embedding(sequence) + self.positions[: sequence.shape[1]]))
        x = self.head_norm(F.gelu(self.head(self.transformer(x)), approximate="tanh"))
        return F.linear(x, self.embedding.weight, self.bias)

    def logits(self, ids: Tensor, masked: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, L, K), given ids (B, L) where there is no mask, and labels (B,), ``classes`` for none."""
        sequence = torch.cat([self.codes + labels[:, None], ids.masked_fill(masked, self.mask)], dim=1)
        return self.scores(sequence)[:, 1:, : self.codes]

    def masks(self, done: Tensor) -> Tensor:
        """The masks of training, bool (B, L), drawn for shares `done` (B,) of the schedule: at least one a sample."""
        share = masked_share(done, self.config.masking, self.length)
        return random_masks((self.length * share).ceil().clamp(1, self.length), self.length)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        ids, labels = tokens.data, condition
        if self.training:
            labels = drop_labels(labels, self.config.class_dropout, self.classes)
        masked = self.masks(torch.rand(len(ids), device=ids.device))
        logits = self.logits(ids, masked, labels)
        smoothing = self.config.label_smoothing
        return {"cross_entropy": masked_cross_entropy(logits, ids, masked, smoothing=smoothing, each=True)}

    def predictor(self) -> Conditioned:
        return self.logits
