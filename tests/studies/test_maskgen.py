"""The study of MaskGen at its quick scale: all parts run, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from studies import maskgen, runs
from studies.digits import WORDS
from studies.maskgen import DRAWS, FEW, GUIDED, MANY, table_of
from studies.words import LENGTH, write_encoder
from zellige.core.condition import TextReading
from zellige.encoders.text import TextEncoder


def test_quick_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "output"
    options = ["--data", str(tmp_path), "--scale", "quick", "--work", str(tmp_path / "work"), "--output", str(output)]
    maskgen.main(options)
    record = json.loads((output / "maskgen.json").read_text("utf-8"))
    assert [run["arm"] for run in record["runs"]] == ["maskgen", "maskgen-kl"]
    for run in record["runs"]:
        assert list(run["draws"]) == list(DRAWS)
        assert run["own"] != run["other"]  # the words are read
        assert run["draws"][MANY] != run["draws"][FEW]
    assert str(tmp_path) not in json.dumps(record)

    monkeypatch.setattr(runs, "GeneratorRun", None)  # finished runs are not repeated
    monkeypatch.setattr(runs, "train_tokenizer", None)
    monkeypatch.setattr(maskgen, "drawn", None)
    maskgen.main(options)
    assert json.loads((output / "maskgen.json").read_text("utf-8")) == record


@pytest.mark.parametrize(("own", "guided", "few", "words"), [(1.0, 0.9, 30.0, "met"), (3.0, 0.4, 5.0, "not met")])
def test_table_says_what_was_met(own: float, guided: float, few: float, words: str) -> None:
    draws = {MANY: {"distance": 10.0, "right": 0.5}, GUIDED: {"distance": 9.0, "right": guided}}
    draws[FEW] = {"distance": few, "right": 0.2}
    found = {"own": own, "other": 2.0, "right": 0.8, "reconstructed": 4.0, "draws": draws}
    runs = [{"arm": arm, "seed": 0, **found} for arm in ("maskgen", "maskgen-kl")]
    lines = table_of({"title": "digits", "runs": runs}).splitlines()[2:]
    shown = [line for line in lines if not line.endswith("|  |")]
    assert len(shown) == 3
    assert all(f": {words}, by " in line for line in shown)


def test_the_encoder_gives_each_word_a_token_and_a_vector_of_its_own(tmp_path: Path) -> None:
    words = WORDS
    encoder = TextEncoder.load(str(write_encoder(tmp_path / "words", words, dim=8)))
    ids = encoder.words(list(words))["input_ids"]
    assert {len(found) for found in ids} == {3}  # beginning, word, end
    assert len({found[1] for found in ids}) == len(WORDS)
    encoder.read_for("MaskGen", TextReading(skipped=1, joint=True, length=LENGTH))
    pooled = encoder(words).pooled
    assert pooled is not None
    assert torch.pdist(pooled).min() > 0.1
