"""Texts to features by a frozen encoder of `transformers` (extra ``lm``): T5, CLIP's text side, BERT, …

Legend: B texts, T tokens, F channels, P channels of a pooled vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from zellige.core.condition import TextFeatures, TextReading
from zellige.core.errors import MissingExtra, UsageError, reason

MOST_TOKENS = 120
"""Tokens of a text; the rest is cut, as in LlamaGen (arXiv 2406.06525)."""
_CLIP = ("clip", "clip_text_model")
"""What `transformers` calls CLIP, with the side of the images or without."""


class TextEncoder:
    """A frozen text encoder and its tokenizer of words.

    Args:
        name: where it was loaded from.
        words: texts to ids, of `transformers`.
        network: ids to features, of `transformers`.
        most: T at most.

    Attributes:
        reading: which features it gives, see `read_for`.
    """

    def __init__(self, name: str, words: Any, network: Any, most: int = MOST_TOKENS) -> None:
        self.name, self.words, self.network, self.most = name, words, network.eval().requires_grad_(False), most
        self.dim, self.reading = int(network.config.hidden_size), TextReading()

    @classmethod
    def load(cls, source: str, device: torch.device | str = "cpu") -> Self:
        """An encoder from a folder or the Hub; `UsageError` if it is not there, `MissingExtra` without transformers."""
        try:
            from transformers import AutoConfig, AutoModelForTextEncoding, AutoTokenizer, CLIPTextModelWithProjection
        except ImportError:
            raise MissingExtra("transformers", "lm") from None
        try:
            clip = AutoConfig.from_pretrained(source).model_type in _CLIP
            words = AutoTokenizer.from_pretrained(source)
            network: Any = (CLIPTextModelWithProjection if clip else AutoModelForTextEncoding).from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no text encoder at '{source}': {reason(error)}; name a folder that holds one, or one on the Hub"
            ) from error
        return cls(source, words, network.to(device), min(MOST_TOKENS, words.model_max_length))

    def read_for(self, reader: str, reading: TextReading) -> None:
        """Give the features that a generator reads; `UsageError`, in the name of `reader`, if it cannot."""
        if reading.length > self.most:
            raise UsageError(
                f"{reader} reads {reading.length} tokens of a text, and {self.name} up to {self.most}: name a text "
                f"encoder of longer texts, or train with config.text_tokens={self.most}"
            )
        self.reading = reading

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> TextFeatures:
        """Features (B, T, F) of texts, and pooled (B, P) where the network does that.

        Padding is on the left of what `mask` shows; or on the right and read like words, if the reading says so.
        """
        length, skipped = self.reading.length, self.reading.skipped
        found = self.words(
            list(texts),
            padding="max_length" if length else True,
            truncation=True,
            max_length=length or self.most,
            return_tensors="pt",
            padding_side="right",
        )
        found = found.to(self.network.device)
        ids, mask = found["input_ids"], found["attention_mask"].bool()
        more = {"output_hidden_states": True} if skipped else {}
        if length:  # OpenCLIP pads with 0 and hides nothing
            made = self.network(input_ids=ids.masked_fill(~mask, 0), **more)
        else:
            made = self.network(input_ids=ids, attention_mask=found["attention_mask"], **more)
        last = made.last_hidden_state.float()
        features = made.hidden_states[-1 - skipped].float() if skipped else last
        whole = TextFeatures(features, pooled=self._pooled(made), last=last if skipped else None)
        return whole if length else _text_last(whole, mask)

    def _pooled(self, made: Any) -> Tensor | None:
        """A vector (B, P) of each text, or none."""
        found = getattr(made, "text_embeds", None) if self.reading.joint else None
        found = getattr(made, "pooler_output", None) if found is None else found
        return None if found is None else found.float()


def _text_last(text: TextFeatures, mask: Tensor) -> TextFeatures:
    """With the padding, where `mask` (B, T) is false, in front of the words."""
    order = mask.int().argsort(dim=1, stable=True)

    def moved(part: Tensor) -> Tensor:
        return part.gather(1, order[..., None].expand_as(part))

    last = None if text.last is None else moved(text.last)
    return replace(text, features=moved(text.features), mask=mask.gather(1, order), last=last)
