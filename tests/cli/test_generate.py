"""`zellige generate`: what it draws, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import zellige as library
from tests.cli.conftest import Run
from zellige.core.images import load_image
from zellige.core.tokens import TokenSpec
from zellige.generate.images import ImageGenerator

SMALL = {"dim": 16, "depth": 1, "heads": 2, "hidden": 32, "dropout": 0.0}
NAMES = ("animals/bird", "animals/fish", "sea")


def save_generator(folder: Path, tokenizer: Path, **changes: object) -> Path:
    """A generator of the tokenizer's 3×3 tokens with random weights."""
    decoder = library.load(tokenizer, kind=library.Tokenizer)
    facts = {"tokenizer": decoder.name, "fingerprint": decoder.fingerprint(), "class_names": NAMES}
    torch.manual_seed(0)
    spec = TokenSpec(((3, 3),), decoder.codebook)
    generator = library.build("llamagen", for_tokens=spec, **{**SMALL, **facts, "classes": 3, **changes})
    with torch.no_grad():
        for p in generator.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    generator.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    folder = save_generator(tmp_path_factory.mktemp("generator"), tokenizer)
    library.load(tokenizer).save_pretrained(folder / "tokenizer")
    return folder


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: load_image(path) for path in sorted(folder.glob("0*.png"))}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """As decoded from the same tokens; batches round differently in the last bit."""
    return one.keys() == other.keys() and all(
        np.abs(one[name].astype(int) - other[name].astype(int)).max() <= 1 for name in one
    )


def test_images_a_sheet_and_a_record(zellige: Run, generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ("generate", generator, "-o", out, "--class", "animals", "--class", 2, "--num", 5, "--seed", 7)
    found = zellige(*line, "--guidance", 2, "--temperature", 0.9, "--grid", 3, "--json").done()
    record = json.loads(found.out)
    assert json.loads((out / "generate.json").read_text("utf-8")) == record
    assert [row["seed"] for row in record["images"]] == [7, 8, 9, 10, 11]
    assert [row["name"] for row in record["images"]] == [NAMES[i] for i in (0, 2, 1, 2, 0)]
    assert (record["sampling"]["guidance"], record["sampling"]["temperature"]) == (2.0, 0.9)
    assert record["generator"]["fingerprint"] == library.load(generator).fingerprint()
    assert record["tokenizer"]["fingerprint"] == library.load(generator / "tokenizer").fingerprint()
    assert [image.shape for image in pictures(out).values()] == [(12, 12, 3)] * 5
    assert load_image(out / "contact-sheet.png").shape == (24, 36, 3)


def test_the_batch_changes_nothing_and_the_seed_everything(zellige: Run, generator: Path, tmp_path: Path) -> None:
    line = ("generate", generator, "-n", 6, "--guidance", 3)
    for name, size, seed in (("one", 1, 3), ("four", 4, 3), ("other", 4, 300)):
        zellige(*line, "-o", tmp_path / name, "--seed", seed, "-b", size).done()
    one, four, other = (pictures(tmp_path / name) for name in ("one", "four", "other"))
    assert same(one, four)
    assert not same(one, other)


def test_an_interrupted_run_keeps_its_images_and_goes_on(
    zellige: Run, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("generate", generator, "-n", 6, "-b", 2, "-o")
    usual, batches = ImageGenerator.draw, []

    def draw(self: ImageGenerator, *arguments: object, **options: object) -> torch.Tensor:
        batches.append(arguments)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return usual(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageGenerator, "draw", draw)
    stopped = zellige(*line, tmp_path / "a")
    assert stopped.code == 130
    assert "--resume" in stopped.err
    kept = pictures(tmp_path / "a")
    assert len(kept) == 2
    zellige(*line, tmp_path / "a").refused(2, "holds generated images", "--resume")
    zellige(*line, tmp_path / "a", "--resume", "--temperature", 0.5).refused(2, "another 'sampling'")
    done = zellige(*line, tmp_path / "a", "--resume").done()
    assert "2 images were there before" in done.err
    assert len(batches) == 4
    seed = json.loads((tmp_path / "a" / "generate.json").read_text("utf-8"))["images"][0]["seed"]
    zellige(*line, tmp_path / "b", "--seed", seed).done()
    assert same(pictures(tmp_path / "a"), pictures(tmp_path / "b"))
    zellige(*line, tmp_path / "c", "--resume").refused(2, "nothing to resume")


def test_without_a_class_all_take_their_turn(zellige: Run, generator: Path, tmp_path: Path) -> None:
    for count, labels in ((2, [0, 1]), (4, [0, 1, 2, 0])):
        found = zellige("generate", generator, "-o", tmp_path / str(count), "-n", count, "--json").done()
        assert [row["class"] for row in json.loads(found.out)["images"]] == labels


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--class", 3), ("classes 0 to 2", "no class 3")),
        (("--class", -1), ("no class -1",)),
        (("--class", "brid"), ("unknown class", "did you mean bird")),
        (("--text", "a bird"), ("takes no text but a class",)),
        (("--guidance", -1), ("guidance is a number from 0 up",)),
        (("--temperature", -1), ("temperature",)),
        (("--top-p", 0), ("top_p",)),
        (("--tokenizer", "zellige-photo"), ("has the codebook",)),
    ],
)
def test_what_it_cannot_draw(
    options: tuple[object, ...], words: tuple[str, ...], zellige: Run, generator: Path, tmp_path: Path
) -> None:
    zellige("generate", generator, "-o", tmp_path / "out", *options).refused(2, *words)
    assert not (tmp_path / "out").exists()


def test_generators_without_classes_and_without_tokenizers(zellige: Run, tokenizer: Path, tmp_path: Path) -> None:
    plain = save_generator(tmp_path / "plain", tokenizer, classes=0, class_names=())
    line = ("generate", plain, "-o", tmp_path / "out", "-n", 2)
    zellige(*line).refused(2, "not in the library", "--tokenizer")
    zellige(*line, "-t", tokenizer, "--class", 0).refused(2, "without classes")
    zellige(*line, "-t", tokenizer).done()
    assert len(pictures(tmp_path / "out")) == 2
    zellige("generate", tokenizer, "-o", tmp_path / "out2").refused(2, "no generator")


def test_another_tokenizer_of_the_same_codes_is_refused(zellige: Run, generator: Path, tmp_path: Path) -> None:
    other = library.load(generator / "tokenizer")
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(tmp_path / "other")
    line = ("generate", generator, "-o", tmp_path / "out", "-t", tmp_path / "other")
    zellige(*line).refused(2, "name the tokenizer that it was trained with")


def test_a_batch_that_does_not_fit(
    zellige: Run, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(library.Generator, "sample", full)
    line = ("generate", generator, "-o", tmp_path / "out", "-b", 8)
    zellige(*line).refused(1, "a batch of 8 does not fit in memory", "--batch-size 4")


def test_a_damaged_record(zellige: Run, generator: Path, tmp_path: Path) -> None:
    (tmp_path / "generate.json").write_text("{")
    zellige("generate", generator, "-o", tmp_path, "--resume").refused(1, "generate.json is damaged")
