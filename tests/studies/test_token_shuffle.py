"""The study of Token-Shuffle at its quick scale: all parts run, and nothing is done twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from studies import runs, token_shuffle
from studies.patches import PatchCodes
from studies.token_shuffle import CONFIGS, LONGER, MEAN, PLAIN, SHARES, WINDOWS, probe_table, windows_table


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = data / "output"
    options = ["--data", str(data), "--scale", "quick", "--work", str(data / "work"), "--output", str(output)]
    token_shuffle.main(options)
    record = json.loads((output / "token_shuffle.json").read_text("utf-8"))
    assert [run["arm"] for run in record["runs"]] == list(CONFIGS)
    for run in record["runs"]:
        assert run["bits"] == pytest.approx(math.log2(32), abs=0.5)  # a few steps from guessing
    plain, windows, longer, mean = record["runs"]
    pace = record["pace"]["training"]
    assert longer["images"] == 4 * round(4 * pace[WINDOWS] / pace[PLAIN])
    assert len({plain["bits"], windows["bits"], mean["bits"]}) == 3
    assert [found["rank"] for found in record["probe"]] == [64, 32, 16, 8, 4, 1]
    assert list(record["psnr"]) == ["2", "4"]
    assert str(data) not in json.dumps(record)

    monkeypatch.setattr(runs, "GeneratorRun", None)  # finished runs are not repeated
    monkeypatch.setattr(runs, "train_tokenizer", None)
    for name in ("training_pace", "drawing_pace", "tokenize"):
        monkeypatch.setattr(token_shuffle, name, None)
    token_shuffle.main(options)
    assert json.loads((output / "token_shuffle.json").read_text("utf-8")) == record


def test_patches_are_the_nearest_centres_in_their_places(data: Path) -> None:
    codes = PatchCodes.of(data / "cifar10-train.parquet", 4, 16)
    tokens = codes.encode(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert tokens.layout == ((8, 8),)
    images = codes.decode(tokens)
    assert torch.equal(codes.encode(images).data, tokens.data)  # a centre is its own nearest one
    first = codes.centres.weight[tokens.data[1, 9]].view(3, 4, 4).clamp(-1, 1)
    torch.testing.assert_close(images[1, :, 4:8, 4:8], first)


def _record(bits: dict[str, float], speed: float) -> dict[str, object]:
    pace = {PLAIN: 10.0, WINDOWS: 10 * speed}
    runs = [{"arm": arm, "seed": 0, "images": 10, "bits": value} for arm, value in bits.items()]
    return {"pace": {"training": pace, "drawing": pace}, "runs": runs}


@pytest.mark.parametrize(("speed", "longer", "mean", "words"), [(3, 4.1, 5.2, "met"), (1.9, 4.3, 4.9, "not met")])
def test_table_of_windows_says_what_was_met(speed: float, longer: float, mean: float, words: str) -> None:
    record = _record({PLAIN: 4.0, WINDOWS: 5.0, LONGER: longer, MEAN: mean}, speed)
    lines = windows_table(record).splitlines()
    assert [line.endswith(f" {words} |") for line in lines[3:]] == [True] * 3
    assert all(("not met" in line) == (words == "not met") for line in lines[3:])


@pytest.mark.parametrize(("knee", "end", "words"), [(4.05, 4.4, ("met", "met")), (4.2, 4.2, ("not met", "not met"))])
def test_table_of_ranks_says_what_was_met(knee: float, end: float, words: tuple[str, str]) -> None:
    bits = {**dict.fromkeys(SHARES, 4.0), 8: knee, 64: end}
    probe = [{"share": share, "rank": 64 // share, "seed": 0, "bits": value} for share, value in bits.items()]
    last = probe_table({"probe": probe}).splitlines()[-1]
    assert f"to rank 8: {words[0]}; then more: {words[1]} |" in last
