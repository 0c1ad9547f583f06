"""RAR, randomized autoregressive generation (Yu et al., arXiv 2411.00776).

    cls, class, x_{o1} … x_{oL} ─ embed + where it is + where the next one is
        ─ causal transformer, modulated by the class and the step ─ head ─ x_{o1} … x_{oL}

In training the tokens come in random orders o, which are annealed to raster order, so that the model has learned to
see both ways when it ends as a plain autoregressive one. A second position table tells each token which position
comes next. Legend: B samples, L tokens, K codes, C channels, o orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import Tokens, TokenSpec, layout_size
from zellige.generate.ar import next_tokens
from zellige.generate.config import SAMPLING, GeneratorConfig, one_block_of_codes
from zellige.nn.linear import Linear
from zellige.nn.modulation import AdaptiveNorm, drop_labels, init_normal
from zellige.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True)
class RARConfig(GeneratorConfig):
    """RAR-B on the codes of a 256×256 image.

    Attributes:
        dim: C.
        depth: blocks, with ``heads`` of attention and ``hidden`` channels in their MLP.
        dropout: of embedded branches; ``attention_dropout`` of attention weights.
        anneal: shares of the training at which random orders begin to give way to raster order, and at which
            they are gone.
        extra_positions: rows of the position tables beyond L; ``extra_steps`` of the table of steps. At least 2.
    """

    guidance: float = 16.0
    schedule: str = "power-cosine"
    power: float = 2.75
    dim: int = 768
    depth: int = 24
    heads: int = 16
    hidden: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    anneal: tuple[float, float] = (0.5, 0.75)
    extra_positions: int = 1024
    extra_steps: int = 100


class RAR(Generator):
    """Next-token prediction that is trained in random orders and sampled in raster order.

    Attributes:
        permuted: share of the samples that are permuted in training; `progress` anneals it.
    """

    config_class: ClassVar[type] = RARConfig
    system = "rar"
    sampling = SAMPLING
    config: RARConfig

    def __init__(self, config: RARConfig) -> None:
        super().__init__(config)
        one_block_of_codes(config.spec, self.system)
        self.spec, self.classes = config.spec, config.classes
        self.length, self.permuted = layout_size(config.layout), 1.0
        codes, dim, length = config.codebook[0], config.dim, self.length
        self.embedding = nn.Embedding(codes + 1 + config.classes + 1, dim)  # codes, a mask (unused), classes, no class
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, length + config.extra_positions, dim))
        self.targets = nn.Parameter(torch.empty(1, length + config.extra_positions, dim))
        self.steps = nn.Parameter(torch.empty(1, length + config.extra_steps, dim))
        self.transformer = Transformer(
            TransformerConfig(
                dim,
                config.depth,
                config.heads,
                hidden=config.hidden,
                qk_norm="layer",
                adaptive=True,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            )
        )
        self.norm = AdaptiveNorm(dim)
        self.head = Linear(dim, codes)
        init_normal(self, truncated=True)
        for table in (self.positions, self.targets, self.steps):
            nn.init.trunc_normal_(table, std=0.02)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_block_of_codes(spec, cls.system)

    def progress(self, done: float) -> None:
        start, end = self.config.anneal
        self.permuted = min(1.0, max(0.0, (end - done) / (end - start))) if end > start else float(done < start)

    def logits(self, ids: Tensor, labels: Tensor, orders: Tensor | None = None) -> Tensor:
        """Logits (B, n + 1, K) of x_{o1} … x_{o(n+1)}; the last of L + 1 predicts nothing.

        Args:
            ids: the first n <= L ids in the order of prediction, (B, n).
            labels: (B,), ``classes`` for no condition.
            orders: permutations (B, L) of 0 … L - 1; None for raster order.
        """
        x = torch.cat([self._prefix(labels), self.embedding(ids)], dim=1)
        tokens = x.shape[1]
        condition = self._class_vector(labels)[:, None] + self.steps[:, :tokens]
        x = self.transformer(x + self._places(orders)[:, :tokens], condition, causal=True)
        return self.head(self.norm(x[:, 1:], condition[:, 1:]))

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        ids, labels, orders = tokens.data, condition, None
        if self.training:
            labels = drop_labels(labels, self.config.class_dropout, self.classes)
            orders = self._random_orders(len(ids))
            ids = ids.gather(1, orders)
        logits = self.logits(ids[:, :-1], labels, orders)
        return {"cross_entropy": F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten())}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: RARConfig) -> Tensor:
        assert isinstance(condition, Tensor)
        guidance = settings.guide()
        labels = torch.cat([condition, torch.full_like(condition, self.classes)]) if guidance.active else condition
        vector, places = self._class_vector(labels)[:, None], self._places(None)
        cache = self.transformer.cache(self.length + 2)

        def predict(previous: Tensor | None, position: int) -> Tensor:
            x = self._prefix(labels) if previous is None else self.embedding(previous)[:, None]
            slots = slice(cache.length, cache.length + x.shape[1])
            modulation = vector + self.steps[:, slots]
            x = self.transformer(x + places[:, slots], modulation, causal=True, cache=cache)
            cache.advance(x.shape[1])
            return self.head(self.norm(x[:, -1:], modulation[:, -1:]))[:, 0]

        return next_tokens(predict, self.length, guidance, settings.sampler(), noise)

    def _class_vector(self, labels: Tensor) -> Tensor:
        return self.embedding(labels + self.config.codebook[0] + 1)

    def _prefix(self, labels: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(labels), -1, -1), self._class_vector(labels)[:, None]], dim=1)

    def _places(self, orders: Tensor | None) -> Tensor:
        """Own position plus that of the token to come, (B or 1, L + 2, C); cls and the last token await none."""
        if orders is None:
            orders = torch.arange(self.length, device=self.device)[None]
        own = torch.cat([self.positions[:, :2].expand(len(orders), -1, -1), self.positions[0, 2 + orders]], dim=1)
        return own + F.pad(self.targets[0, 2 + orders], (0, 0, 1, 1))

    def _random_orders(self, count: int) -> Tensor:
        """Orders (B, L), each random with the chance `permuted`, else raster."""
        random = torch.rand(count, self.length, device=self.device).argsort(dim=1)
        raster = torch.arange(self.length, device=self.device)
        return torch.where(torch.rand(count, 1, device=self.device) < self.permuted, random, raster)
