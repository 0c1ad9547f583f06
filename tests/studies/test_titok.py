"""The study of short sequences at its quick scale: all parts run, and nothing is done twice."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from studies import runs
from studies.titok import compactness, stages
from studies.titok.__main__ import main
from studies.titok.report import of_compactness, tables_of
from zellige.core.registry import build

SMALL = {"channels": 32, "multipliers": (1, 1, 2), "latent": 8, "dim": 8, "blocks": 1, "decoder_blocks": 1}


def draw_photographs(path: Path, count: int, seed: int) -> None:
    """A tar of smooth random pictures, larger than a crop."""
    rng = np.random.default_rng(seed)
    with tarfile.open(path, "w") as archive:
        for number in range(count):
            small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
            buffer = io.BytesIO()
            small.resize((96, 80), Image.Resampling.BICUBIC).save(buffer, "PNG")
            entry = tarfile.TarInfo(f"{number:03}.png")
            entry.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(entry, buffer)


@pytest.fixture
def photographs(data: Path) -> Path:
    """The same folder with photographs."""
    for seed, name in enumerate(("photos-train-0", "photos-train-1", "photos-val")):
        draw_photographs(data / f"{name}.tar", 4, seed)
    return data


def test_quick_study(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = photographs / "output"
    options = ["--data", str(photographs), "--seeds", "1", "--scale", "quick"]
    options += ["--work", str(photographs / "work"), "--output", str(output)]
    main([*options, "--only", "compactness"])
    main(options)
    path = output / "titok.json"
    record = json.loads(path.read_text("utf-8"))
    assert [(run["arm"], run["bits"]) for run in record["compactness"]["runs"]] == [
        ("8", 40),
        ("16", 80),
        ("32", 160),
        ("grid", 80),
    ]
    (run,) = record["stages"]["runs"]
    assert 0 <= run["accuracy"] <= 1
    assert 1 / 16 <= run["most_frequent"] <= 1
    assert set(run["draws"]) == {"8 steps", "8 steps, guided", "1 step"}
    assert run["finished"] != run["painted"]
    assert str(photographs) not in path.read_text("utf-8")

    for module, name in ((runs, "train_tokenizer"), (runs, "GeneratorRun"), (stages, "tokenize"), (stages, "drawn")):
        monkeypatch.setattr(module, name, None)  # finished runs are not repeated
    monkeypatch.setattr(compactness, "errors", None)
    main(options)
    again = json.loads(path.read_text("utf-8"))
    assert (again["compactness"], again["stages"]) == (record["compactness"], record["stages"])
    assert "samples classified right" in tables_of(record)


def test_what_the_stages_learned_is_counted_right() -> None:
    """A first stage that tells the teacher's codes exactly is always right, and paints what the teacher does."""
    torch.manual_seed(0)
    teacher = build("maskgit-vqgan", **SMALL, middle_blocks=1, quantizer_settings={"codes": 16}).eval()

    class Sure(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Sure:
            own = teacher.encode(x).data
            self.scores = torch.nn.functional.one_hot(own, 16).float().transpose(1, 2).unflatten(2, (8, 8))
            return self

    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    found = stages.learning(teacher, Sure(), teacher, images)  # type: ignore[arg-type]
    assert found["accuracy"] == 1.0
    assert found["painted"] == found["teacher"] == found["finished"] > 0


@pytest.mark.parametrize(("errors", "words"), [((3, 2, 1, 4), "met: 1 of 1"), ((1, 2, 3, 1), "not met: 0 of 1")])
def test_verdicts(errors: tuple[float, ...], words: str) -> None:
    others = {"seed": 0, "bits": 1, "parameters": 1, "distance": 1.0, "used": 1.0}
    arms = zip(("8", "16", "32", "grid"), errors, strict=True)
    shown = of_compactness({"runs": [{"arm": arm, "mse": error, **others} for arm, error in arms]})
    assert shown.count(words) == 2
