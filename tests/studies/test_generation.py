"""The study of generators at its quick scale: all parts run, nothing is done twice, and draws are the same again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from studies.common import Interval
from studies.robusttok import generation, pairs
from studies.robusttok.generation import main, summary, table_of, verdict
from zellige.codec import TokenSet


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, output = data / "work", data / "output"
    options = ["--data", str(data), "--seeds", "1", "--scale", "quick", "--work", str(work), "--output", str(output)]
    main(options)
    path = output / "robusttok-generation.json"
    record = json.loads(path.read_text("utf-8"))
    assert [run["arm"] for run in record["runs"]] == ["plain", "robust"]
    for run in record["runs"]:
        assert run["gfd"] > 0
        assert run["nats"] == pytest.approx(math.log(64), abs=0.5)  # two steps from guessing among 64 codes
        assert "cifar10-test.parquet" in run["protocol"]
    plain, robust = record["runs"]
    assert plain["gfd"] != robust["gfd"]
    assert str(data) not in path.read_text("utf-8")
    sets = [TokenSet(found) for found in sorted(work.rglob("tokens-16.parquet"))]
    assert [len(tokens) for tokens in sets] == [16, 16]
    assert sets[0].info.fingerprint != sets[1].info.fingerprint
    assert sets[0].labels.tolist() == [number % 10 for number in range(16)]

    for module, name in ((pairs, "train_tokenizer"), (generation, "train_generator"), (generation, "tokenize")):
        monkeypatch.setattr(module, name, None)  # finished runs are not repeated
    for measured in work.rglob("generator-*/measured-*.json"):
        measured.unlink()
    main(options)
    again = json.loads(path.read_text("utf-8"))
    for run in (*again["runs"], *record["runs"]):
        del run["environment"]["date"]  # may be a minute later
    assert again["runs"] == record["runs"]  # the same samples
    again = json.loads(path.read_text("utf-8"))
    monkeypatch.setattr(generation, "measure", None)
    main(options)
    assert json.loads(path.read_text("utf-8")) == again


def test_table_takes_differences_seed_by_seed() -> None:
    others = {"clean": 1.0, "perturbed": 2.0, "nats": 5.0}
    runs = [
        {"arm": arm, "seed": seed, "gfd": base + (3.0 if arm == "plain" else 0.0), **others}
        for seed, base in enumerate((10.0, 50.0))
        for arm in ("plain", "robust")
    ]
    difference = summary(runs)["gfd, difference"]
    assert (difference.mean, difference.half) == (-3.0, 0.0)
    assert "| −3.0 ± 0.0 | below 0: met |" in table_of({"title": "images", "runs": runs})


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Interval(-2.0, 1.0, 3), "met"),
        (Interval(-2.0, 3.0, 3), "met, within noise"),
        (Interval(2.0, 3.0, 3), "not met, within noise"),
        (Interval(2.0, 1.0, 3), "not met"),
        (Interval(-2.0, math.nan, 1), "met by one seed"),
    ],
)
def test_verdict(difference: Interval, words: str) -> None:
    assert verdict(difference) == words
