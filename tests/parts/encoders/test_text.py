"""Texts to features: by stand-ins for the two halves that `transformers` gives."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zellige.core.errors import MissingExtra
from zellige.encoders.text import TextEncoder


class Ids(dict[str, Tensor]):
    def to(self, device: object) -> Ids:
        return self


def words(texts: list[str], **options: Any) -> Ids:
    """A token a letter, padded on the right."""
    most = max(len(text[: options["max_length"]]) for text in texts)
    rows = [[ord(letter) for letter in text[: options["max_length"]]] for text in texts]
    ids = torch.tensor([row + [0] * (most - len(row)) for row in rows])
    return Ids(input_ids=ids, attention_mask=(ids > 0).long())


class Network(nn.Module):
    config = types.SimpleNamespace(hidden_size=2)
    device = torch.device("cpu")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return types.SimpleNamespace(last_hidden_state=torch.stack([input_ids, -input_ids], dim=-1).half())


def test_texts_end_together_and_long_ones_are_cut() -> None:
    found = TextEncoder("letters", words, Network(), most=3)(["a", "abcd"])
    assert found.features.dtype == torch.float32
    assert found.features[..., 0].tolist() == [[0, 0, 97], [97, 98, 99]]
    assert found.mask is not None
    assert found.mask.tolist() == [[False, False, True], [True, True, True]]


def test_what_the_network_pools_comes_along() -> None:
    class Pooling(Network):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            pooled = input_ids[:, :1].half()
            return types.SimpleNamespace(**vars(super().forward(input_ids, attention_mask)), pooler_output=pooled)

    found = TextEncoder("letters", words, Pooling(), most=3)(["a", "bc"])
    assert found.pooled is not None
    assert found.pooled.dtype == torch.float32
    assert found.pooled.tolist() == [[97], [98]]
    assert TextEncoder("letters", words, Network())(["a"]).pooled is None


def test_without_transformers_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"zellige\[lm\]"):
        TextEncoder.load("t5")
