"""The generators of TiTok (Yu et al., arXiv 2406.07550): MaskGIT over a short sequence without order.

    class, x with masks ─ embed + position ─ transformer (BERT, or one with long skips) ─ head ─ x

Both networks put the class in front as a token; one row of the embedding stands for no class. Unlike in MaskGIT
tokens that are seen are predicted too, with a small weight, and the confidence in a token is its logit.
Legend: B samples, L tokens, K codes, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from zellige.core.condition import TextFeatures
from zellige.core.errors import nearest
from zellige.core.tokens import Layout, Tokens
from zellige.generate.masked import (
    MASKED_SAMPLING,
    Conditioned,
    MaskedConfig,
    MaskedGenerator,
    Unmasking,
    masked_cross_entropy,
    masked_share,
    random_masks,
)
from zellige.nn.modulation import drop_labels, init_normal
from zellige.nn.skip import SkipTransformer
from zellige.nn.transformer import Transformer, TransformerConfig

NETWORKS = ("bert", "skip")


@dataclass(frozen=True)
class TiTokMaskGITConfig(MaskedConfig):
    """The generator of the 32 tokens of TiTok-L.

    Attributes:
        network: ``bert``, with the norms after each branch, or ``skip``, with long skips.
        dim: C.
        depth: blocks, with ``heads`` of attention and ``hidden`` channels in their MLP; ``skip`` has one more.
        dropout: of embeddings and branches; ``attention_dropout`` of attention weights.
        seen_weight: of the loss at positions without mask.
        anneal_logits: divide the logits by ½ plus 0.8 times the share of the steps that are left.
    """

    layout: Layout = ((32,),)
    codebook: tuple[int, ...] = (4096,)
    guidance: float = 5.5
    schedule: str = "linear"
    temperature: float = 9.5
    choice_temperature: float = 9.5
    masking: str = "arccos"
    network: str = "bert"
    dim: int = 768
    depth: int = 24
    heads: int = 16
    hidden: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    seen_weight: float = 0.1
    anneal_logits: bool = True

    def unmasking(self) -> Unmasking:
        spread = (0.5, 0.8) if self.anneal_logits else (1.0, 0.0)
        return Unmasking(
            self.steps, self.masking, self.choice_temperature, confidence="logit", annealed=True, spread=spread
        )


class TiTokMaskGIT(MaskedGenerator):
    """Masked tokens of a sequence from those that are seen."""

    config_class: ClassVar[type] = TiTokMaskGITConfig
    system = "titok-maskgit"
    sampling = (*MASKED_SAMPLING, "anneal_logits")
    config: TiTokMaskGITConfig

    def __init__(self, config: TiTokMaskGITConfig) -> None:
        super().__init__(config)
        if config.network not in NETWORKS:
            raise nearest(config.network, list(NETWORKS), "network")
        dim = config.dim
        bert = config.network == "bert"
        self.embedding = nn.Embedding(self.codes + 1 + config.classes + 1, dim)  # codes, mask, classes, no class
        self.positions = nn.Parameter(torch.empty(1 + self.length, dim))
        self.kinds = nn.Parameter(torch.empty(2, dim)) if bert else None  # of sentences, of which there is one here
        self.norm_in = nn.LayerNorm(dim, eps=1e-12) if bert else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        numbers = TransformerConfig(
            dim,
            config.depth,
            config.heads,
            hidden=config.hidden,
            eps=1e-12 if bert else 1e-5,
            post_norm=bert,
            qkv_bias=bert,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
        )
        self.trunk: nn.Module = Transformer(numbers) if bert else SkipTransformer(numbers)
        self.norm_out = nn.Identity() if bert else nn.LayerNorm(dim)
        self.head = nn.Linear(dim, self.codes)
        init_normal(self, truncated=True)
        for table in (self.positions, *([] if self.kinds is None else [self.kinds])):
            nn.init.trunc_normal_(table, std=0.02)

    def logits(self, ids: Tensor, masked: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, L, K), given ids (B, L) where there is no mask, and labels (B,), ``classes`` for none."""
        sequence = torch.cat([self.codes + 1 + labels[:, None], ids.masked_fill(masked, self.codes)], dim=1)
        x = self.embedding(sequence) + self.positions
        if self.kinds is not None:
            x = x + self.kinds[0]
        x = self.norm_out(self.trunk(self.dropout(self.norm_in(x))))
        return self.head(x[:, 1:])

    def masks(self, done: Tensor) -> Tensor:
        """The masks of training, bool (B, L), drawn for shares `done` (B,) of the schedule: at least one a sample."""
        share = masked_share(done, self.config.masking, self.length)
        return random_masks((self.length * share).round().clamp(min=1), self.length)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        ids, labels = tokens.data, condition
        if self.training:
            labels = drop_labels(labels, self.config.class_dropout, self.classes)
        masked = self.masks(torch.rand(len(ids), device=ids.device))
        weights = torch.where(masked, 1.0, self.config.seen_weight)
        logits = self.logits(ids, masked, labels)
        return {"cross_entropy": masked_cross_entropy(logits, ids, weights, smoothing=self.config.label_smoothing)}

    def predictor(self) -> Conditioned:
        return self.logits
