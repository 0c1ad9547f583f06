"""`Generator`: a model of tokens.

Legend: B samples, N token positions, G sub-codebooks, D latent dimensions.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from zellige.core.condition import Condition, TextFeatures, TextReading, class_labels
from zellige.core.contract import Model, Tokenizer
from zellige.core.errors import UsageError
from zellige.core.noise import Noise, Seed, seeds_of
from zellige.core.tokens import Tokens, TokenSpec


class Generator(Model):
    """A model of tokens of one kind (`spec`), learned by `loss` and drawn by `sample`.

    Subclasses implement `settings_for`, `_loss` and `_sample`, and `settings_from` and `adopt` where they look into
    the tokenizer; this class checks what callers pass, and turns conditions and seeds into tensors. Their
    configuration has ``layout``, ``codebook`` and ``classes``, and the values for sampling (`sampling`) that suit the
    weights: ``guidance``, ``temperature``, …

    Attributes:
        sampling: the fields of the configuration that a call of `sample` may replace.
        spec: layout and codebook (or dimensions) of the tokens.
        classes: how many class labels it knows; 0 for none. The label ``classes`` stands for no condition.
        text_dim: F of the text features that condition it; 0 if it takes no text.
        pooled: whether it reads a vector (B, F) of each whole text too.
    """

    sampling: ClassVar[tuple[str, ...]] = ("guidance", "temperature")
    spec: TokenSpec
    classes: int = 0
    text_dim: int = 0
    pooled: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        """Fields of the configuration that fit tokens of a kind.

        Raises `UsageError` where it cannot model them: why, and what would.
        """

    @classmethod
    def settings_from(cls, tokenizer: Tokenizer) -> dict[str, Any]:
        """Fields of the configuration that the tokenizer itself tells, beside the kind of its tokens."""
        return {}

    def adopt(self, tokenizer: Tokenizer) -> None:
        """Take what reading tokens needs of their tokenizer, such as its codes; most generators need nothing.

        Raises `UsageError` for a tokenizer that this model was not built for.
        """

    @abstractmethod
    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        """See `loss`; `condition` is one label a sample, or text features, or None (text model, no text)."""

    @abstractmethod
    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: Any) -> Tensor:
        """Ids or latents of ``len(noise)`` samples; `settings` is the configuration with the options of the call."""

    def loss(self, tokens: Tokens, condition: Condition = None) -> dict[str, Tensor]:
        """The terms of the training loss, already weighted; their sum is minimized.

        Args:
            tokens: of the kind `spec`.
            condition: of each sample; None trains without condition. In training mode some are left out
                at random, which is what guidance needs.
        """
        self.check(tokens)
        return self._loss(tokens.to(self.device), self._condition(condition, len(tokens)))

    def sample(
        self,
        condition: Condition = None,
        *,
        num: int | None = None,
        seed: Seed = None,
        guidance: float | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> Tokens:
        """New tokens. A sample depends on its condition and its seed, not on the batch it is drawn in.

        Args:
            condition: one for each sample, or one for all.
            num: samples; None takes as many as there are conditions, or seeds, or one.
            seed: s gives sample i the seed s + i; a sequence has one a sample; None draws fresh ones.
            guidance: strength of classifier-free guidance: 1 for none, None for what suits the weights.
            temperature: below 1 for more likely samples, 0 for the likeliest; None for what suits the weights.
            options: other values of `sampling`.
        """
        given = {"guidance": guidance, "temperature": temperature, **options}
        settings = self.settings({key: value for key, value in given.items() if value is not None})
        if num is not None and num < 1:
            raise UsageError(f"num is the number of samples, from 1 up; got {num}")
        several = None if seed is None or isinstance(seed, int) else len(seed)
        prepared = self._condition(condition, num or several)
        count = num or (several if prepared is None else len(prepared)) or 1
        noise = Noise(seeds_of(seed, count), self.device)
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                data = self._sample(prepared, noise, settings)
        finally:
            self.train(training)
        data = data.clone()  # outside of inference mode, so that samples may be trained on
        ids, latents = (data, None) if self.spec.codebook else (None, data)
        return Tokens(ids, self.spec.layout, self.spec.codebook, latents)

    def settings(self, options: dict[str, Any]) -> Any:
        """The configuration with other values for sampling; `UsageError` for one that this model does not have."""
        known = [f.name for f in fields(self.config) if f.name in self.sampling]
        for key in options:
            if key not in known:
                raise UsageError(f"{self.name} is sampled without '{key}'; it has {', '.join(known)}")
        return replace(self.config, **options)

    def check(self, tokens: Tokens) -> None:
        """`UsageError` if tokens are not of the kind that this model was built for."""
        if tokens.spec != self.spec:
            raise UsageError(
                f"{self.name} was built for {self.spec}; these are {tokens.spec}: "
                "build it for them with zellige.build(…, for_tokens=…)"
            )
        if tokens.lengths is not None and bool((tokens.lengths != tokens.num_tokens).any()):
            raise UsageError(f"{self.name} models token sequences of one length; these vary")

    def reading(self) -> TextReading:
        """Which features of a text it was made for; most generators of texts read those of the last layer."""
        return TextReading()

    def lacks_null(self) -> bool:
        """Whether it needs the features of the empty text before it can draw, see `set_null`."""
        return False

    def set_null(self, empty: TextFeatures) -> None:
        """Take what the text encoder makes of the empty text, where that stands for no text."""

    def progress(self, done: float) -> None:
        """Told before each training step which share of the training is done, 0 to 1, for what is annealed."""

    def checkpoint_gradients(self, enabled: bool = True) -> None:
        """Whether training computes the inside of blocks a second time instead of keeping it in memory."""
        for attributes in map(vars, self.modules()):
            if "checkpointing" in attributes:
                attributes["checkpointing"] = enabled

    def _condition(self, condition: Condition, count: int | None) -> Tensor | TextFeatures | None:
        """Labels (B,), ``classes`` for no condition; or text features; None if a text model is given none."""
        if self.text_dim:
            if condition is None:
                return None
            if not isinstance(condition, TextFeatures) or condition.features.shape[2] != self.text_dim:
                raise UsageError(f"{self.name} takes text as TextFeatures (B, T, {self.text_dim})")
            if self.pooled and (condition.pooled is None or condition.pooled.shape[1] != self.text_dim):
                raise UsageError(
                    f"{self.name} reads a vector of each text too: TextFeatures.pooled (B, {self.text_dim})"
                )
            return self._checked(condition.to(self.device), count)
        if condition is None:
            return torch.full((count or 1,), self.classes, device=self.device)
        labels = class_labels(condition, self.classes, self.name).to(self.device)
        return self._checked(labels.expand(count) if len(labels) == 1 and count else labels, count)

    def _checked(self, condition: Any, count: int | None) -> Any:
        if count is not None and len(condition) != count:
            raise UsageError(f"{len(condition)} conditions for {count} samples; give one for each")
        return condition
