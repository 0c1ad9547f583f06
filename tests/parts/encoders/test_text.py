"""Texts to features: by stand-ins for the two halves that `transformers` gives, and by a CLIP of random weights."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.clip import LENGTH, save_clip
from zellige.core.condition import TextReading
from zellige.core.errors import MissingExtra, UsageError
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


@pytest.fixture(scope="module", params=["text", "both"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its text side alone, or with the side of the images."""
    return save_clip(tmp_path_factory.mktemp("clip"), images=request.param == "both")


def test_a_clip_as_maskgen_reads_it(clip: Path) -> None:
    """Beside what the network itself gives for ids that are spelt here."""
    encoder = TextEncoder.load(str(clip))
    encoder.read_for("maskgen", TextReading(skipped=1, joint=True, length=LENGTH))
    found = encoder(["ab", "c"])
    ids = torch.tensor([[7, 1, 5, 8, 0, 0, 0, 0, 0], [7, 6, 8, 0, 0, 0, 0, 0, 0]])  # start, letters, end, padding
    with torch.no_grad():
        made = encoder.network(input_ids=ids, output_hidden_states=True)
    assert found.mask is None
    assert torch.equal(found.features, made.hidden_states[-2])
    assert found.last is not None
    assert torch.equal(found.last, made.last_hidden_state)
    assert found.pooled is not None
    ends = made.last_hidden_state[torch.arange(2), torch.tensor([3, 2])]
    assert torch.allclose(found.pooled, encoder.network.text_projection(ends), atol=1e-6)
    with pytest.raises(UsageError, match=r"maskgen reads 77 tokens of a text, and .* up to 9: .*text_tokens=9"):
        encoder.read_for("maskgen", TextReading(length=77))


def test_a_clip_as_others_read_it(clip: Path) -> None:
    found = TextEncoder.load(str(clip))(["ab", "c"])
    assert found.features.shape == (2, 4, 8)
    assert found.mask is not None
    assert found.mask.tolist() == [[True] * 4, [False, True, True, True]]
    assert found.last is None


def test_an_encoder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"no text encoder at '.*nowhere': .*; name a folder that holds one") as found:
        TextEncoder.load(str(tmp_path / "nowhere"))
    assert "\n" not in str(found.value)
    (tmp_path / "config.json").write_text('{"model_type": "clip_text_model"}')
    with pytest.raises(UsageError, match="no text encoder at") as found:
        TextEncoder.load(str(tmp_path))
    assert "\n" not in str(found.value)
