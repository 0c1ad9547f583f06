"""Texts to features by a frozen encoder of `transformers` (extra ``lm``): T5, CLIP's text side, BERT, …

Legend: B texts, T tokens, F channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch

from zellige.core.condition import TextFeatures
from zellige.core.errors import MissingExtra, UsageError, reason

MOST_TOKENS = 120
"""Tokens of a text; the rest is cut, as in LlamaGen (arXiv 2406.06525)."""


class TextEncoder:
    """A frozen text encoder and its tokenizer of words.

    Args:
        name: where it was loaded from.
        words: texts to ids, of `transformers`.
        network: ids to features, of `transformers`.
        most: T at most.
    """

    def __init__(self, name: str, words: Any, network: Any, most: int = MOST_TOKENS) -> None:
        self.name, self.words, self.network, self.most = name, words, network.eval().requires_grad_(False), most
        self.dim = int(network.config.hidden_size)

    @classmethod
    def load(cls, source: str, device: torch.device | str = "cpu") -> Self:
        """An encoder from a folder or the Hub; `UsageError` if it is not there, `MissingExtra` without transformers."""
        try:
            from transformers import AutoModelForTextEncoding, AutoTokenizer
        except ImportError:
            raise MissingExtra("transformers", "lm") from None
        try:
            words = AutoTokenizer.from_pretrained(source)
            network = AutoModelForTextEncoding.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UsageError(f"no text encoder at '{source}': {reason(error)}") from error
        return cls(source, words, network.to(device), min(MOST_TOKENS, words.model_max_length))

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> TextFeatures:
        """Features (B, T, F) of texts, padded on the left to the longest, and pooled where the network does that."""
        found = self.words(
            list(texts), padding=True, truncation=True, max_length=self.most, return_tensors="pt", padding_side="right"
        )
        found = found.to(self.network.device)
        mask = found["attention_mask"].bool()
        made = self.network(input_ids=found["input_ids"], attention_mask=found["attention_mask"])
        features, pooled = made.last_hidden_state, getattr(made, "pooler_output", None)
        order = mask.int().argsort(dim=1, stable=True)  # padding first, the text in its order
        features = features.gather(1, order[..., None].expand_as(features))
        return TextFeatures(features.float(), mask.gather(1, order), None if pooled is None else pooled.float())
