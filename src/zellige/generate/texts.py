"""Generators that read a text token by token, its pooled vector and an aesthetic score, as those of MaskGen do.

Legend: B samples, T text tokens, F channels of the text, S of the waves of a score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.condition import TextFeatures, TextReading
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.generate.config import GeneratorConfig


@dataclass(frozen=True)
class TextConfig(GeneratorConfig):
    """Which texts a generator reads.

    Attributes:
        text_dim: F of the features and of the pooled vector of a text.
        text_tokens: T; texts that are shorter are padded.
        score_waves: S, channels of the aesthetic score; 0 for a model without.
        score: the aesthetic score of a text that comes with none.
    """

    classes: int = 0
    text_dim: int = 768
    text_tokens: int = 77
    score_waves: int = 256
    score: float = 6.5


class TextGenerator(Generator):
    """A generator of texts that knows what stands for no text: the features of an empty one, kept with its weights.

    Attributes:
        null: (T, F); with ``null_mask`` (T,) and ``null_pooled`` (F,).
    """

    pooled: ClassVar[bool] = True
    config: TextConfig
    null: Tensor
    null_mask: Tensor
    null_pooled: Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config)
        if config.classes or config.text_dim < 1:
            raise UsageError(f"{self.system} is conditioned on text: set classes=0 and text_dim to its channels")
        if config.score_waves % 2:
            raise UsageError(f"score_waves is an even number of channels; got {config.score_waves}")
        self.text_dim = config.text_dim
        self.register_buffer("null", torch.zeros(config.text_tokens, config.text_dim))
        self.register_buffer("null_mask", torch.ones(config.text_tokens, dtype=torch.bool))
        self.register_buffer("null_pooled", torch.zeros(config.text_dim))

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
        text = self.padded(given)
        assert text.pooled is not None
        self.null.copy_(text.features[0])
        self.null_pooled.copy_(text.pooled[0])
        self.null_mask.fill_(True)
        if text.mask is not None:
            self.null_mask.copy_(text.mask[0])

    def padded(self, text: TextFeatures) -> TextFeatures:
        """Texts of T tokens, of which a mask hides what is filled up."""
        length, most = text.features.shape[1], self.config.text_tokens
        if length > most:
            raise UsageError(f"{self.name} takes texts of up to {most} tokens; one here has {length}: shorten it")
        if length == most:
            return text
        mask = torch.ones_like(text.features[..., 0], dtype=torch.bool) if text.mask is None else text.mask.bool()
        more = most - length
        return replace(text, features=F.pad(text.features, (0, 0, 0, more)), mask=F.pad(mask, (0, more)))

    def learned_from(self, condition: Tensor | TextFeatures | None, count: int) -> TextFeatures:
        """The texts of a batch of training, some of them left out; no text, `count` times, where there is none."""
        assert not isinstance(condition, Tensor)
        if condition is None:
            return self.no_text(count)
        text = self.padded(condition)
        if not (self.training and self.config.class_dropout):
            return text
        return self.dropped(text, torch.rand(count, device=self.device) < self.config.class_dropout)

    def drawn_from(
        self, condition: Tensor | TextFeatures | None, count: int, score: float, *, twice: bool
    ) -> TextFeatures:
        """The texts of a call of sampling, each with a score; `twice` adds no text for each, for guidance."""
        assert not isinstance(condition, Tensor)
        text = self.no_text(count) if condition is None else self.padded(condition)
        if text.scores is None:
            text = replace(text, scores=torch.full((count,), score, device=self.device))
        if not twice:
            return text
        second = torch.arange(2 * count, device=self.device) >= count
        return self.dropped(text.each(lambda part: torch.cat([part, part])), second)

    def no_text(self, count: int) -> TextFeatures:
        """No text, `count` times."""
        if self.lacks_null():
            raise UsageError(f"{self.name} does not know the empty text, which guidance needs: set_null(its features)")
        null = TextFeatures(self.null[None], self.null_mask[None], self.null_pooled[None])
        return null.each(lambda part: part.expand(count, *part.shape[1:]))

    def dropped(self, text: TextFeatures, dropped: Tensor) -> TextFeatures:
        """Texts of T tokens, those in `dropped` (B,) replaced by none; scores stay."""
        null = self.no_text(len(text))
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

    def scores(self, text: TextFeatures) -> Tensor:
        """The score of each text (B,), or that of the configuration."""
        return text.features.new_full((len(text),), self.config.score) if text.scores is None else text.scores
