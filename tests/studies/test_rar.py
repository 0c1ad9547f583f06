"""The study of RAR at its quick scale: all parts run, and nothing is done twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from studies import patches, rar, runs
from studies.rar import orders_table, verdicts_of


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert record["weights"][0] == [1, 1]
    first, last = record["weights"][1]
    assert first == 1 < last < 4
    assert [point["guidance"] for point in record["subjects"]["rar"]["points"]] == [1, 4]
    assert str(data) not in json.dumps(record)

    monkeypatch.setattr(runs, "GeneratorRun", None)  # finished runs are not repeated
    monkeypatch.setattr(patches, "TokenSetWriter", None)
    rar.main(options)
    again = json.loads((output / "rar.json").read_text("utf-8"))
    assert again == record


def test_interrupted_curves_go_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured after the checkpoint is measured again."""
    options = ["--data", str(data), "--scale", "quick", "--work", str(data / "work"), "--output", str(data)]
    monkeypatch.setattr(rar, "curve", lambda *_: {})
    for table in ("table_of", "verdicts_of"):
        monkeypatch.setattr(rar, table, lambda _: "")
    rar.main(options)
    whole = json.loads((data / "rar.json").read_text("utf-8"))
    (folder,) = (path for path in data.rglob("rar-raster-*") if (path / "recipe.json").read_text().count("-10.parquet"))
    (folder / "model.safetensors").unlink()  # as if it had stopped at its last checkpoint
    rar.main(options)
    assert json.loads((data / "rar.json").read_text("utf-8"))["runs"] == whole["runs"]


def test_table_of_orders_says_what_was_met() -> None:
    runs = [
        {"images": 8, "arm": arm, "seed": 0, "curve": [[step, end + 4 - step] for step in (1, 2, 3, 4)]}
        for arm, end in (("annealed", 1.98), ("raster", 2.0), ("random", 1.98))
    ]
    lines = orders_table({"runs": runs}).splitlines()
    assert lines[2].endswith("| 4.980 | 3.980 | 2.980 | 1.980 | 1.980 |  |")
    assert "or lower: −1.0%, met; beside its lowest −1.0%" in lines[3]
    assert "not met" in lines[4]


@pytest.mark.parametrize(("agreement", "recall", "words"), [(0.9, 0.3, "met"), (0.55, 0.6, "not met")])
def test_verdicts_of_guidance(agreement: float, recall: float, words: str) -> None:
    none = {"guidance": 1.0, "agreement": 0.5, "recall": 0.5}
    points = [none, {"guidance": 4.0, "agreement": agreement, "recall": recall}]
    spread = [2.0, 2.0 + recall - 0.5]
    record = {
        "spread": spread,
        "subjects": {"rar": {"points": points}},
        "drawing": {"samples": 100},
        "weights": [[1, 1], [1.0, 3.9]],
    }
    lines = verdicts_of(record).splitlines()
    assert [line.endswith(f" {words} |") for line in lines[2:5]] == [True] * 3
    assert lines[5].endswith("| 1 and 3.900 | met |")
