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

from zellige.core.condition import TextFeatures
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
from zellige.generate.texts import TextConfig, TextGenerator
from zellige.nn.joint import JointTransformer
from zellige.nn.modulation import AdaptiveNorm, init_normal, width_std
from zellige.nn.time import time_waves

_PERIOD = 1000.0
"""Of the slowest wave of a score, which is counted in hundredths."""


@dataclass(frozen=True)
class MaskGenConfig(TextConfig, MaskedConfig):
    """MaskGen-VQ L on the 128 tokens of TA-TiTok BL-128.

    Attributes:
        dim: C.
        depth: blocks, with ``heads`` of attention and ``hidden`` channels in their MLPs.
        tied: the embedding of the codes is the head too.
        spare: rows of the embedding that nothing reads: the released tables have room for classes.
        seen_weight: of the loss at positions without mask.
    """

    layout: Layout = ((128,),)
    codebook: tuple[int, ...] = (8192,)
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


class MaskGen(TextGenerator):
    """Masked tokens of a sequence from those that are seen and from a text."""

    config_class: ClassVar[type] = MaskGenConfig
    system = "maskgen"
    sampling = (*MASKED_SAMPLING, "score")
    config: MaskGenConfig

    def __init__(self, config: MaskGenConfig) -> None:
        super().__init__(config)
        one_block_of_codes(config.spec, self.system)
        self.spec, self.length = config.spec, layout_size(config.layout)
        self.codes, dim = config.codebook[0], config.dim
        self.embedding = nn.Embedding(self.codes + 1 + config.spare, dim)  # codes, mask
        self.positions = nn.Parameter(torch.empty(1, self.length, dim))
        self.text_in = nn.Linear(config.text_dim, dim)
        self.condition = nn.Linear(config.text_dim + config.score_waves, dim)
        self.trunk = JointTransformer(dim, config.depth, config.heads, config.hidden)
        self.norm = AdaptiveNorm(dim)
        self.head = None if config.tied else nn.Linear(dim, self.codes)
        std = width_std(dim, 1024)
        init_normal(self, std, truncated=True)
        nn.init.trunc_normal_(self.positions, std=std)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_block_of_codes(spec, cls.system)

    def logits(self, ids: Tensor, masked: Tensor, text: TextFeatures) -> Tensor:
        """Logits (B, L, K), given ids (B, L) where there is no mask, and texts (B, ≤ T, F), pooled (B, F)."""
        assert text.pooled is not None
        dtype = self.positions.dtype
        vector = text.pooled.to(dtype)
        if waves := self.config.score_waves:
            cosines, sines = time_waves(100 * self.scores(text).float(), waves, _PERIOD).chunk(2, dim=-1)
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
        ids = tokens.data
        text = self.learned_from(condition, len(ids))
        masked = self.masks(torch.rand(len(ids), device=ids.device))
        weights = torch.where(masked, 1.0, self.config.seen_weight)
        logits = self.logits(ids, masked, text)
        return {"cross_entropy": masked_cross_entropy(logits, ids, weights, smoothing=self.config.label_smoothing)}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: MaskGenConfig) -> Tensor:
        guidance = settings.guide()
        text = self.drawn_from(condition, len(noise), settings.score, twice=guidance.active)
        ids = torch.zeros(len(noise), self.length, dtype=torch.long, device=self.device)
        everywhere = torch.ones_like(ids, dtype=torch.bool)

        def predict(ids: Tensor, masked: Tensor) -> Tensor:
            return self.logits(ids, masked, text)

        return unmask(predict, ids, everywhere, settings.unmasking(), guidance, settings.sampler(), noise)
