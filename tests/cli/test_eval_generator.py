"""`zellige eval --generator`: sets of samples beside sets of images, and its protocols."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import zellige as library
from tests.cli.conftest import Run
from tests.cli.test_generate import NAMES, save_generator
from zellige.core.images import save_image
from zellige.evaluate import evaluate_generator
from zellige.evaluate.generation_report import generation_html
from zellige.generate.images import open_generator
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import ImageFeatures
from zellige.metrics.neighbours import TORCH_FIDELITY


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    folder = save_generator(tmp_path_factory.mktemp("generator"), tokenizer)
    library.load(tokenizer).save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes by name, one of which the generator knows."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        place = folder / ("sea", "unknown")[number % 2]
        place.mkdir(exist_ok=True)
        noise = torch.randint(256, (20, 16, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        save_image(place / f"{number}.png", noise.numpy())
    return folder


def means(manifold: bool = True) -> FeatureDistances:
    """Distances of the mean colours of halves: a network that needs no weights."""
    pool = nn.AdaptiveAvgPool2d((1, 2))
    network = ImageFeatures("halves", 6, pool, lambda x: pool(x).flatten(1), lambda x: x, "native size")
    return FeatureDistances(network, manifold=TORCH_FIDELITY if manifold else None)


def test_figures_have_protocols_and_pairs_of_the_same_class(generator: Path, pictures: Path) -> None:
    images = open_generator(str(generator))
    seen: list[list[int]] = []
    usual = images.draw
    images.draw = lambda condition, seeds, **options: (  # type: ignore[method-assign]
        seen.append(condition),
        usual(condition, seeds, **options),
    )[1]
    result = evaluate_generator(images, pictures, batch_size=4, distances=means(), options={"guidance": 2.0}, seed=5)
    labels = [label for batch in seen[1:] for label in batch]  # the first draw tells the size
    assert labels == [NAMES.index("sea")] * 4 + [4 % 3, 5 % 3, 6 % 3]
    assert result.count == 7
    found = {m.protocol.metric: m for m in result.measurements}
    assert {"gFD-halves", "precision of halves", "recall of halves"} <= found.keys()
    protocol = found["gFD-halves"].protocol
    assert protocol.samples == 7
    assert "guidance 2.0" in protocol.conditions
    assert "seed 5" in protocol.conditions
    assert protocol.resize == "short side to 12, centre crop (ADM)"
    assert dict(result.unmeasured)["Inception Score"] == "halves is no classifier"
    assert result.samples.shape == (7, 12, 12, 3)
    page = generation_html(result)
    assert "gFD-halves" in page
    assert "data:image/webp" in page
    again = evaluate_generator(open_generator(str(generator)), pictures, batch_size=7, distances=means(), seed=5,
                               options={"guidance": 2.0})  # fmt: skip
    assert again["gfd_halves"].value == pytest.approx(result["gfd_halves"].value, abs=1e-4)


def test_too_few_images_say_what_is_missing(generator: Path, pictures: Path) -> None:
    result = evaluate_generator(
        open_generator(str(generator)), pictures, limit=1, distances=means(), names=["fd", "prc"]
    )
    assert not result.measurements
    missing = dict(result.unmeasured)
    assert "4 or more" in missing["precision and recall"]
    assert "2 or more" in missing["FD-halves"]


def test_the_command_prints_and_writes(
    zellige: Run, generator: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zellige.evaluate.generation.set_distances", lambda *_: means())
    line = ("eval", "--generator", generator, pictures, "-o", tmp_path, "--guidance", 1.5, "--seed", 2)
    done = zellige(*line).done()
    assert "gFD-halves" in done.out
    assert (tmp_path / "report.html").exists()
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert (result["sampling"]["guidance"], result["sampling"]["seed"]) == (1.5, 2)
    assert result["command"].endswith("--guidance 1.5 --seed 2")
    assert result["generator"]["fingerprint"] == library.load(generator).fingerprint()


def test_requests_that_do_not_fit(zellige: Run, generator: Path, tokenizer: Path, pictures: Path) -> None:
    line = ("eval", "--generator", generator)
    zellige(*line, tokenizer, pictures).refused(2, "a generator is measured alone")
    zellige(*line, pictures, "--metrics", "psnr").refused(2, "unknown metric of generators", "psnr")
    zellige("eval", tokenizer, pictures, "--guidance", 2).refused(2, "--guidance", "--generator")
    zellige("eval", "--generator", tokenizer, pictures).refused(2, "no generator")
    for wrong in (-1, "nan"):
        zellige(*line, pictures, "--guidance", wrong).refused(2, "guidance is a number from 0 up")


def test_a_batch_that_does_not_fit(
    zellige: Run, generator: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr("zellige.evaluate.generation.set_distances", lambda *_: means())
    monkeypatch.setattr(library.Generator, "sample", full)
    zellige("eval", "--generator", generator, pictures, "-o", tmp_path / "out").refused(1, "does not fit in memory")
