"""The study of guidance at its quick scale: all parts run, nothing is trained twice, and the probe finds classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from studies import guidance
from studies.guidance import FIGURES, main, table_of
from studies.probe import ClassProbe
from tests.studies.conftest import draw_set


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_set(data / "emoji-64.parquet", 12, 64, 2)
    output = data / "output"
    options = ["--data", str(data), "--scale", "quick", "--work", str(data / "work"), "--output", str(output)]
    main(options)
    record = json.loads((output / "guidance.json").read_text("utf-8"))
    assert list(record["subjects"]) == ["llamagen/cifar10", "zellige-emoji/small"]
    for subject, reference in zip(record["subjects"].values(), ("cifar10-test", "emoji-64"), strict=True):
        assert [point["guidance"] for point in subject["points"]] == [1.0, 3.0]
        for point in subject["points"]:
            assert point["gfd"] > 0
            for words in (f"reference: {reference}.parquet", "samples: 8", f"guidance {point['guidance']}"):
                assert words in point["protocol"]
    weak, strong = record["subjects"]["zellige-emoji/small"]["points"]
    assert weak["gfd"] != strong["gfd"]
    assert str(data) not in json.dumps(record)
    with Image.open(output / "cifar10-samples.jpg") as picture:
        assert picture.width > 10 * 64
        assert picture.height > 4 * 64  # two seeds of either strength
    assert (output / "guidance.svg").read_text("utf-8").count('class="curve"') == 4

    monkeypatch.setattr(guidance, "train_generator", None)  # what is trained is not trained again
    monkeypatch.setattr(guidance, "tokenize", None)
    main(options)
    assert json.loads((output / "guidance.json").read_text("utf-8"))["subjects"] == record["subjects"]


def test_the_probe_finds_classes_by_features() -> None:
    def colours(images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    images = 0.1 * torch.randn(60, 3, 4, 4, generator=generator)
    images[torch.arange(60), labels] += 0.5  # each class has a colour
    probe = ClassProbe.fit(colours, [(images[:30], labels[:30]), (images[30:50], labels[30:50])], 3)  # type: ignore[arg-type]
    assert torch.equal(probe(images[50:]), labels[50:])


def test_the_table_has_a_row_for_each_strength_and_for_the_images() -> None:
    point = {"guidance": 1.5, "gfd": 9.96, "precision": 0.5, "recall": 0.25, "score": 3.0, "agreement": 0.505}
    lines = table_of({"subjects": {"a": {"title": "images", "points": [point], "references": 0.75}}}).splitlines()
    assert lines[2] == "| images | 1.5 | 10.0 | 0.500 | 0.250 | 3.00 | 50.5% |"
    assert lines[3] == "| images | images | – | – | – | – | 75.0% |"
    assert len(FIGURES) == lines[0].count("|") - 3
