"""The study at its quick scale, on images drawn here: all parts run, nothing is done twice, and the files are whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.common import Interval, interval, splice, student_quantile
from studies.robusttok import pairs
from studies.robusttok.__main__ import main


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    work, output = data / "work", data / "output"
    options = ["--data", str(data), "--only", "cifar10", "--seeds", "2", "--scale", "quick"]
    options += ["--work", str(work), "--output", str(output)]
    main(options)
    record = json.loads((output / "robusttok.json").read_text("utf-8"))
    found = record["sets"]["cifar10"]
    assert [(run["arm"], run["seed"]) for run in found["runs"]] == [
        ("plain", 0),
        ("robust", 0),
        ("plain", 1),
        ("robust", 1),
    ]
    assert found["held_out"]["count"] == 8
    for run in found["runs"]:
        assert run["perturbed"] == pytest.approx(np.mean([cell["distance"] for cell in run["cells"]]))
        tokens = 8 * 64
        for cell in run["cells"]:
            share = cell["alpha"] * (1 - 1 / cell["delta"])
            assert cell["expected"] == pytest.approx(share)
            assert abs(cell["changed"] - share) < 4 * math.sqrt(share * (1 - share) / tokens)
    plain, robust = (found["runs"][i]["clean"] for i in (0, 1))
    assert plain != robust  # the technique changed the training
    text = (output / "robusttok.md").read_text("utf-8")
    assert "CIFAR-10, 32 px: perturbed distance" in text
    assert str(data) not in text + json.dumps(record)
    with Image.open(output / "perturbation.jpg") as picture:
        assert picture.width > 6 * 128
    assert (output / "pfid-map.svg").read_text("utf-8").count('class="curve"') == 4

    capsys.readouterr()
    monkeypatch.setattr(pairs, "train_tokenizer", None)  # finished runs are not repeated
    monkeypatch.setattr(pairs, "measure", None)
    main(options)
    again = json.loads((output / "robusttok.json").read_text("utf-8"))
    assert again["sets"]["cifar10"]["runs"] == found["runs"]


def test_quick_figures_do_not_take_the_place_of_real_ones(data: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(data), "--scale", "quick"])


@pytest.mark.parametrize(("degrees", "known"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (30, 2.042)])
def test_student_quantile(degrees: int, known: float) -> None:
    assert student_quantile(0.95, degrees) == pytest.approx(known, abs=5e-4)


def test_interval() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert found.show(".1f") == "2.0 ± 2.5"
    assert interval([4.0]).show() == "4.0"
    assert Interval(-12.3, 1.0, 3).show("+.1f", " %") == "-12.3 ± 1.0 %"


def test_splice_wants_one_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: made by python -m studies.x -->\nold\n<!-- end of x -->\nb\n")
    splice(page, "x", "new")
    assert page.read_text() == "a\n<!-- x: made by python -m studies.x -->\nnew\n<!-- end of x -->\nb\n"
    with pytest.raises(ValueError, match="0 places"):
        splice(page, "y", "new")
