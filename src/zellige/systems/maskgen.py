"""MaskGen (Kim et al., arXiv 2501.07730): text to the tokens of TA-TiTok, by masked generation.

    features of the text ─ project ────────────────┐
    x with masks ─ embed + position ───────────────┴─ joint attention (MM-DiT) ─ norm ─ codes ─ x
    pooled text, aesthetic score ─ project ─ modulates ┘

Guessing and keeping are those of TiTok's generators. The text is that of a CLIP: its features one layer before the
last, and its pooled vector in the space that CLIP shares with images. Guidance contrasts them with what CLIP makes of
the empty text, which the model keeps beside its weights. Legend: B samples, T text tokens, L image tokens, K codes,
C channels, F channels of the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.condition import TextFeatures, TextReading
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import Layout, Tokens, TokenSpec, layout_size
from zellige.generate.config import one_block_of_codes
from zellige.generate.guidance import Guidance
from zellige.generate.masked import (
    MASKED_SAMPLING,
    MaskedConfig,
    Unmasking,
    masked_cross_entropy,
    masked_share,
    random_masks,
    unmask,
)
from zellige.nn.joint import JointTransformer
from zellige.nn.modulation import AdaptiveNorm, init_normal
from zellige.nn.time import time_waves

_PERIOD = 1000.0
"""Of the slowest wave of a score, which is counted in hundredths."""


@dataclass(frozen=True)
class MaskGenConfig(MaskedConfig):
    """MaskGen-VQ L on the 128 tokens of TA-TiTok BL-128.

    Attributes:
        dim: C.
        depth: blocks, with ``heads`` of attention and ``hidden`` channels in their MLPs.
        text_dim: F of the features and of the pooled vector of a text.
        text_tokens: T; texts that are shorter are padded.
        score_waves: channels of the aesthetic score; 0 for a model without.
        score: the aesthetic score of a text that comes with none.
        tied: the embedding of the codes is the head too.
        spare: rows of the embedding that nothing reads: the released tables have room for classes.
        seen_weight: of the loss at positions without mask.
    """

    layout: Layout = ((128,),)
    codebook: tuple[int, ...] = (8192,)
    classes: int = 0
    guidance: float = 13.0
    schedule: str = "cosine"
    temperature: float = 2.0
    choice_temperature: float = 2.0
    steps: int = 16
    masking: str = "arccos"
    dim: int = 1024
    depth: int = 16
    heads: int = 16
    hidden: int = 4096
    text_dim: int = 768
    text_tokens: int = 77
    score_waves: int = 256
    score: float = 6.5
    tied: bool = True
    spare: int = 0
    seen_weight: float = 0.1

    def unmasking(self) -> Unmasking:
        return Unmasking(
            self.steps, self.masking, self.choice_temperature, confidence="logit", annealed=True, spread=(0.5, 0.8)
        )

    def guide(self) -> Guidance:
        """The released sampler adds its scale, which rises from 1, to the conditional logits: it begins at 2."""
        return replace(super().guide(), base=min(2.0, self.guidance), ahead=1 / max(1, self.steps))


class MaskGen(Generator):
    """Masked tokens of a sequence from those that are seen and from a text."""

    config_class: ClassVar[type] = MaskGenConfig
    system = "maskgen"
    sampling = (*MASKED_SAMPLING, "score")
    pooled = True
    config: MaskGenConfig
    null: Tensor
    null_mask: Tensor
    null_pooled: Tensor

    def __init__(self, config: MaskGenConfig) -> None:
        super().__init__(config)
        one_block_of_codes(config.spec, self.system)
        if config.classes or config.text_dim < 1:
            raise UsageError(f"{self.system} is conditioned on text: set classes=0 and text_dim to its channels")
        if config.score_waves % 2:
            raise UsageError(f"score_waves is an even number of channels; got {config.score_waves}")
        self.spec, self.text_dim, self.length = config.spec, config.text_dim, layout_size(config.layout)
        self.codes, dim = config.codebook[0], config.dim
        self.embedding = nn.Embedding(self.codes + 1 + config.spare, dim)  # codes, mask
        self.positions = nn.Parameter(torch.empty(1, self.length, dim))
        self.text_in = nn.Linear(config.text_dim, dim)
        self.condition = nn.Linear(config.text_dim + config.score_waves, dim)
        self.trunk = JointTransformer(dim, config.depth, config.heads, config.hidden)
        self.norm = AdaptiveNorm(dim)
        self.head = None if config.tied else nn.Linear(dim, self.codes)
        self.register_buffer("null", torch.zeros(config.text_tokens, config.text_dim))
        self.register_buffer("null_mask", torch.ones(config.text_tokens, dtype=torch.bool))
        self.register_buffer("null_pooled", torch.zeros(config.text_dim))
        init_normal(self, truncated=True)
        nn.init.trunc_normal_(self.positions, std=0.02)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_block_of_codes(spec, cls.system)

    def reading(self) -> TextReading:
        return TextReading(skipped=1, joint=True, length=self.config.text_tokens)

    def lacks_null(self) -> bool:
        """Whether the weights are released ones, which need it for guidance and without a text."""
        return bool(self.null.isnan().any())

    def set_null(self, empty: TextFeatures) -> None:
        """Take what the text encoder makes of the empty text, (1, ≤ T, F) and pooled (1, F), as that of no text.

        A model begins with zeros, unless a recipe names a text encoder: training then asks that first.
        """
        given = self._condition(empty, 1)
        assert isinstance(given, TextFeatures)
        text = self._padded(given)
        assert text.pooled is not None
        self.null.copy_(text.features[0])
        self.null_pooled.copy_(text.pooled[0])
        self.null_mask.fill_(True)
        if text.mask is not None:
            self.null_mask.copy_(text.mask[0])

    def logits(self, ids: Tensor, masked: Tensor, text: TextFeatures) -> Tensor:
        """Logits (B, L, K), given ids (B, L) where there is no mask, and texts (B, ≤ T, F), pooled (B, F)."""
        assert text.pooled is not None
        dtype = self.positions.dtype
        vector = text.pooled.to(dtype)
        if waves := self.config.score_waves:
            scores = vector.new_full((len(vector),), self.config.score) if text.scores is None else text.scores
            cosines, sines = time_waves(100 * scores.float(), waves, _PERIOD).chunk(2, dim=-1)
            vector = torch.cat([vector, sines.to(dtype), cosines.to(dtype)], dim=-1)
        condition = self.condition(vector)
        x = self.embedding(ids.masked_fill(masked, self.codes)) + self.positions
        x = self.norm(self.trunk(x, self.text_in(text.features.to(dtype)), condition, text.mask), condition)
        return F.linear(x, self.embedding.weight[: self.codes]) if self.head is None else self.head(x)

    def masks(self, done: Tensor) -> Tensor:
        """The masks of training, bool (B, L), drawn for shares `done` (B,) of the schedule: at least one a sample."""
        share = masked_share(done, self.config.masking, self.length)
        return random_masks((self.length * share).round().clamp(min=1), self.length)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert not isinstance(condition, Tensor)
        ids = tokens.data
        text = self._nothing(len(ids)) if condition is None else self._padded(condition)
        if self.training and self.config.class_dropout and condition is not None:
            text = self._dropped(text, torch.rand(len(ids), device=ids.device) < self.config.class_dropout)
        masked = self.masks(torch.rand(len(ids), device=ids.device))
        weights = torch.where(masked, 1.0, self.config.seen_weight)
        logits = self.logits(ids, masked, text)
        return {"cross_entropy": masked_cross_entropy(logits, ids, weights, smoothing=self.config.label_smoothing)}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: MaskGenConfig) -> Tensor:
        assert not isinstance(condition, Tensor)
        guidance = settings.guide()
        text = self._nothing(len(noise)) if condition is None else self._padded(condition)
        if text.scores is None:
            text = replace(text, scores=torch.full((len(noise),), settings.score, device=self.device))
        if guidance.active:
            second = torch.arange(2 * len(noise), device=self.device) >= len(noise)
            text = self._dropped(text.each(guidance.double), second)
        ids = torch.zeros(len(noise), self.length, dtype=torch.long, device=self.device)
        everywhere = torch.ones_like(ids, dtype=torch.bool)

        def predict(ids: Tensor, masked: Tensor) -> Tensor:
            return self.logits(ids, masked, text)

        return unmask(predict, ids, everywhere, settings.unmasking(), guidance, settings.sampler(), noise)

    def _padded(self, text: TextFeatures) -> TextFeatures:
        """Texts of T tokens, of which a mask hides what is filled up."""
        length, most = text.features.shape[1], self.config.text_tokens
        if length > most:
            raise UsageError(f"{self.name} takes texts of up to {most} tokens; one here has {length}: shorten it")
        if length == most:
            return text
        mask = torch.ones_like(text.features[..., 0], dtype=torch.bool) if text.mask is None else text.mask.bool()
        more = most - length
        return replace(text, features=F.pad(text.features, (0, 0, 0, more)), mask=F.pad(mask, (0, more)))

    def _nothing(self, count: int) -> TextFeatures:
        """No text, `count` times."""
        if self.lacks_null():
            raise UsageError(f"{self.name} does not know the empty text, which guidance needs: set_null(its features)")
        null = TextFeatures(self.null[None], self.null_mask[None], self.null_pooled[None])
        return null.each(lambda part: part.expand(count, *part.shape[1:]))

    def _dropped(self, text: TextFeatures, dropped: Tensor) -> TextFeatures:
        """Texts of T tokens, those in `dropped` (B,) replaced by none; scores stay."""
        null = self._nothing(len(text))
        assert text.pooled is not None
        assert null.pooled is not None
        assert null.mask is not None
        mask = torch.ones_like(null.mask) if text.mask is None else text.mask.bool()
        return replace(
            text,
            features=torch.where(dropped[:, None, None], null.features.to(text.features.dtype), text.features),
            mask=torch.where(dropped[:, None], null.mask, mask),
            pooled=torch.where(dropped[:, None], null.pooled.to(text.pooled.dtype), text.pooled),
        )
