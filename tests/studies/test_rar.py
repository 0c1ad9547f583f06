"""The studies of RAR and LlamaGen at their quick scale: all parts run, and nothing is done twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from studies import curves, llamagen, rar
from studies.classes import ClassJudge, guidance_table, within_classes
from studies.rar import orders_table
from studies.robusttok import generation


def test_quick_studies(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = data / "output"
    options = ["--data", str(data), "--scale", "quick", "--work", str(data / "work"), "--output", str(output)]
    rar.main(options)
    record = json.loads((output / "rar.json").read_text("utf-8"))
    assert [(run["images"], run["arm"]) for run in record["runs"]] == [
        (images, arm) for images in (10, 16) for arm in ("annealed", "raster", "random")
    ]
    for run in record["runs"]:
        assert [step for step, _ in run["curve"]] == [1, 2, 3, 4]
        assert run["curve"][-1][1] == pytest.approx(math.log(64), abs=0.5)  # a few steps from guessing
    assert len({run["curve"][-1][1] for run in record["runs"]}) == 6  # orders and images changed the training
    for line in record["guidance"]["strengths"]:
        assert line["first"] == 1
        assert line["last"] < line["guidance"] or line["guidance"] == 1
    assert str(data) not in json.dumps(record)

    monkeypatch.setattr(curves, "GeneratorRun", None)  # finished runs are not repeated
    monkeypatch.setattr(generation, "tokenize", None)
    rar.main(options)
    again = json.loads((output / "rar.json").read_text("utf-8"))
    assert again == record
    monkeypatch.undo()

    llamagen.main(options)
    record = json.loads((output / "llamagen.json").read_text("utf-8"))
    assert [line["guidance"] for line in record["guidance"]["strengths"]] == [1, 4]
    assert record["guidance"]["schedule"] == "constant"


def test_interrupted_curves_go_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured after the checkpoint is measured again."""
    options = ["--data", str(data), "--scale", "quick", "--work", str(data / "work"), "--output", str(data)]
    monkeypatch.setattr(rar, "follow", lambda *_: {})
    monkeypatch.setattr(rar, "guidance_table", lambda _: "")
    rar.main(options)
    whole = json.loads((data / "rar.json").read_text("utf-8"))
    (folder,) = (path for path in data.rglob("rar-raster-*") if (path / "recipe.json").read_text().count("tokens-10."))
    (folder / "model.safetensors").unlink()  # as if it had stopped at its last checkpoint
    rar.main(options)
    assert json.loads((data / "rar.json").read_text("utf-8"))["runs"] == whole["runs"]


def test_table_of_orders_says_what_was_met() -> None:
    runs = [
        {"images": 8, "arm": arm, "seed": 0, "curve": [[step, end + 4 - step] for step in (1, 2, 3, 4)]}
        for arm, end in (("annealed", 1.98), ("raster", 2.0), ("random", 1.98))
    ]
    lines = orders_table({"runs": runs}).splitlines()
    assert "| 1.980 |" in lines[2]
    assert "−1.0%, met" in lines[3]
    assert "not met" in lines[4]


def test_a_judge_of_classes_and_the_spread_within_them() -> None:
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    features = torch.randn(300, 5) + 6 * torch.eye(3, 5)[labels]
    judge = ClassJudge.learned(features, labels)
    assert judge.accuracy(features, labels) > 0.98
    assert judge.accuracy(features, (labels + 1) % 3) < 0.02
    assert within_classes(features, labels) == pytest.approx(5, rel=0.1)
    assert within_classes(features[labels == 0], labels[labels == 0]) < within_classes(features, 0 * labels)


@pytest.mark.parametrize(("accuracy", "words"), [(0.9, "met"), (0.55, "not met")])
def test_table_of_guidance_says_what_was_met(accuracy: float, words: str) -> None:
    base = {"first": 1.0, "last": 1.0, "recall": 0.5, "spread": 0.8}
    lines = [{**base, "guidance": 1.0, "accuracy": 0.5}, {**base, "guidance": 4.0, "accuracy": accuracy, "spread": 0.4}]
    found = {"drawing": {"samples": 100}, "held_out": {"accuracy": 0.6}, "strengths": lines}
    last = guidance_table({"guidance": found}).splitlines()[-1]
    assert f"%: {words} | falls: met | falls: not met |" in last
