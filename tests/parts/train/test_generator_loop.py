"""The generator loop: it learns from sets and from images, and an interrupted run is the same run."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import zellige
from zellige.codec import TokenSetWriter
from zellige.core.errors import UsageError, ZelligeError
from zellige.core.generator import Generator
from zellige.core.hub import load, save_pretrained
from zellige.core.images import load_image, save_image
from zellige.core.registry import build
from zellige.core.tensors import read_tensors
from zellige.core.tokens import Tokens
from zellige.train import generator as loop
from zellige.train import token_stream
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator_recipe import GeneratorRecipe

CODES, SIDE, ROWS = 13, 3, 24
NAMES = ("sea", "land/hill", "land/wood")
TINY = {
    "llamagen": {"dim": 16, "depth": 1, "heads": 2, "hidden": 32},
    "rar": {"dim": 16, "depth": 1, "heads": 2, "hidden": 32, "extra_positions": 2, "extra_steps": 2},
}
TOKENIZER: dict[str, Any] = {
    "channels": 16,
    "multipliers": (1, 2),
    "blocks": 1,
    "decoder_blocks": 1,
    "latent": 8,
    "dim": 8,
    "norm": "channel",
    "attention": False,
}


def write_set(path: Path, classes: list[int | None] | None = None, *, told: bool = True, **changes: Any) -> Path:
    """A set of `ROWS` rows whose ids say what their class is."""
    labels = [i % len(NAMES) for i in range(ROWS)] if classes is None else classes
    settings = {"name": "vqgan/f8", "fingerprint": "0" * 16, "codebook": (CODES,), "layout": ((SIDE, SIDE),)} | changes
    writer = TokenSetWriter(path, classes=NAMES, **settings)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, (len(labels), SIDE**2), generator=generator)
    ids += 4 * torch.tensor([label or 0 for label in labels])[:, None]
    texts = [f"picture {i}" if told else None for i in range(len(labels))]
    writer.append([str(i) for i in range(len(labels))], Tokens(ids, ((SIDE, SIDE),), (CODES,)),
                  [(24, 24)] * len(labels), classes=labels, texts=texts)  # fmt: skip
    return writer.finish()


def recipe(system: str = "llamagen", **changes: Any) -> GeneratorRecipe:
    usual = {
        "generator": system,
        "config": TINY[system],
        "steps": 8,
        "batch_size": 4,
        "log_every": 1,
        "checkpoint_every": 3,
        "optimizer": {"lr": 1e-2, "warmup": 0},
        "ema": 0.5,
    }
    return GeneratorRecipe.model_validate(usual | changes)


def curve(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_set(tmp_path_factory.mktemp("set") / "set.parquet"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    torch.manual_seed(0)
    settings = {"codes": CODES}
    save_pretrained(build("vqgan/f8", **TOKENIZER, quantizer="vq", quantizer_settings=settings), folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        place = folder / ("day", "night")[number % 2]
        place.mkdir(exist_ok=True)
        noise = torch.randint(256, (32, 32, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        save_image(place / f"{number}.png", noise.numpy())
    return folder


@pytest.mark.parametrize("system", TINY)
def test_the_loss_falls_below_that_of_tokens_without_classes(system: str, tokens: str, tmp_path: Path) -> None:
    """Ids are one of four for a class: log 4 with it, log 12 without."""
    loop.train_generator(recipe(system, tokens=tokens, steps=80, batch_size=16, log_every=80), tmp_path)
    assert curve(tmp_path)[-1]["loss"] < 1.9
    generator = load(tmp_path, kind=Generator)
    assert generator.config.class_names == NAMES
    assert generator.config.fingerprint == "0" * 16
    drawn = generator.sample([0, 1, 2], seed=0, temperature=0.3)
    assert [set((row // 4).tolist()) for row in drawn.data] == [{0}, {1}, {2}]


@pytest.mark.parametrize("changes", [{}, {"precision": "fp32", "accumulate": 2, "gradient_checkpointing": True}])
@pytest.mark.parametrize("system", TINY)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    system: str, changes: dict[str, Any], tokens: str, tmp_path: Path
) -> None:
    settings = recipe(system, tokens=tokens, **changes)

    class Stop(Exception):
        pass

    def stop(line: dict[str, Any]) -> None:
        if line["step"] == 5:
            raise Stop

    loop.train_generator(settings, tmp_path / "whole")
    with pytest.raises(Stop):
        loop.train_generator(settings, tmp_path / "killed", on_log=stop)
    loop.train_generator(settings, tmp_path / "killed", resume=True)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    first, second = (read_tensors(tmp_path / name / CHECKPOINT) for name in ("killed", "whole"))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_gradient_checkpointing_changes_nothing(tokens: str, tmp_path: Path) -> None:
    for name, enabled in (("kept", False), ("twice", True)):
        settings = recipe(tokens=tokens, precision="fp32", steps=3, gradient_checkpointing=enabled)
        loop.train_generator(settings, tmp_path / name)
    assert curve(tmp_path / "kept") == curve(tmp_path / "twice")


def test_images_are_tokenized_as_they_come(tokenizer: Path, pictures: Path, tmp_path: Path) -> None:
    data = {"train": [str(pictures)], "crop": 24, "scale": [1.0, 1.0]}
    settings = recipe(data=data, tokenizer=str(tokenizer), steps=4, sample_every=2, samples=3)

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    loop.train_generator(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        loop.train_generator(settings, tmp_path / "stopped", on_log=interrupt)
    loop.train_generator(settings, tmp_path / "stopped", resume=True)
    assert curve(tmp_path / "stopped") == curve(tmp_path / "whole")
    generator = zellige.load(tmp_path / "whole", kind=Generator)
    assert generator.config.class_names == ("day", "night")
    saved = zellige.load(tmp_path / "whole" / "tokenizer")
    assert saved.fingerprint() == generator.config.fingerprint
    assert load_image(tmp_path / "whole" / "samples" / "step-000004.png").shape == (24, 72, 3)


def test_it_goes_on_from_trained_weights_on_tokens_of_their_kind_alone(tokens: str, tmp_path: Path) -> None:
    first = recipe(tokens=tokens, steps=2)
    loop.train_generator(first, tmp_path / "first")
    again = recipe(tokens=tokens, steps=2, generator=str(tmp_path / "first"), start="trained", config={})
    loop.train_generator(again, tmp_path / "again")
    assert curve(tmp_path / "again")[0]["loss"] < curve(tmp_path / "first")[0]["loss"]
    other = write_set(tmp_path / "other.parquet", fingerprint="1" * 16)
    with pytest.raises(UsageError, match="models tokens of vqgan/f8 with weights 0000000000000000"):
        loop.train_generator(again.model_copy(update={"tokens": str(other)}), tmp_path / "refused")
    with pytest.raises(UsageError, match="another token set"):
        loop.train_generator(first.model_copy(update={"tokens": str(other)}), tmp_path / "first", resume=True)


def test_sets_that_teach_nothing(tmp_path: Path) -> None:
    one = write_set(tmp_path / "one.parquet", [2] * 5)
    with pytest.raises(UsageError, match="are of one class; set condition=none"):
        loop.train_generator(recipe(tokens=str(one)), tmp_path / "run")
    none = write_set(tmp_path / "none.parquet", [0, 1, None])
    with pytest.raises(UsageError, match="rows without a class"):
        loop.train_generator(recipe(tokens=str(none)), tmp_path / "run")
    loop.train_generator(recipe(tokens=str(none), condition="none", steps=1), tmp_path / "run")
    assert load(tmp_path / "run", kind=Generator).classes == 0


def test_a_set_without_rows(tmp_path: Path) -> None:
    from zellige.codec.schema import TokenSetInfo, arrow_table, parquet_writer

    info = TokenSetInfo("vqgan/f8", "0" * 16, (CODES,), ((SIDE, SIDE),))
    with parquet_writer(tmp_path / "empty.parquet", info) as out:
        out.write_table(arrow_table([], info))
    with pytest.raises(UsageError, match="is empty"):
        loop.train_generator(recipe(tokens=str(tmp_path / "empty.parquet")), tmp_path / "run")


def test_a_set_of_another_tokenizer(tokens: str, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the tokenizer that made the set"):
        loop.train_generator(recipe(tokens=tokens, tokenizer=str(tokenizer)), tmp_path / "run")


def test_tokens_that_the_generator_cannot_model(tmp_path: Path) -> None:
    writer = TokenSetWriter(tmp_path / "two.parquet", name="vqgan/f8", fingerprint="0" * 16, codebook=(5, 5))
    ids = torch.zeros(4, 9, 2, dtype=torch.int64)
    writer.append(list("abcd"), Tokens(ids, ((3, 3),), (5, 5)), [(24, 24)] * 4, classes=[0, 1, 2, 3])
    path = str(writer.finish())
    with pytest.raises(UsageError, match=r"one code at each position.*use a tokenizer with one codebook"):
        loop.train_generator(recipe(tokens=path), tmp_path / "run")


def test_images_without_classes(tokenizer: Path, pictures: Path, tmp_path: Path) -> None:
    data = {"train": [str(pictures / "day")], "crop": 24}
    with pytest.raises(UsageError, match=r"names no classes: set config\.classes"):
        loop.train_generator(recipe(data=data, tokenizer=str(tokenizer)), tmp_path / "run")
    settings = recipe(data=data, tokenizer=str(tokenizer), config={**TINY["llamagen"], "classes": 3})
    with pytest.raises(UsageError, match="images without a class"):
        loop.train_generator(settings, tmp_path / "run")


def test_a_batch_that_does_not_fit(tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(Generator, "loss", full)
    with pytest.raises(ZelligeError, match=r"batch of 4 does not fit .* batch_size=2 accumulate=2, .*checkpointing"):
        loop.train_generator(recipe(tokens=tokens), tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Generator.loss
    monkeypatch.setattr(Generator, "loss", lambda *a: {k: v * torch.nan for k, v in usual(*a).items()})
    with pytest.raises(ZelligeError, match=r"not finite for 10 steps up to step 10; lower optimizer.lr \(now 0.01\)"):
        loop.train_generator(recipe(tokens=tokens, steps=20), tmp_path / "run")


class Lengths:
    """Stands for a text encoder: features are the length of the text."""

    dim, name = 3, "lengths"

    def read_for(self, reader: str, reading: object) -> None:
        """There is but one way to read a length."""

    def __call__(self, texts: list[str]) -> zellige.TextFeatures:
        return zellige.TextFeatures(torch.tensor([float(len(text)) for text in texts]).view(-1, 1, 1).expand(-1, 2, 3))


def test_texts_condition_through_an_encoder(tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.TextEncoder, "load", lambda *_: Lengths())
    loop.train_generator(recipe(tokens=tokens, condition="text", text_encoder="lengths", steps=2), tmp_path / "run")
    generator = load(tmp_path / "run", kind=Generator)
    assert (generator.text_dim, generator.classes, generator.config.text_encoder) == (3, 0, "lengths")


def test_nothing_to_read(tokenizer: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.TextEncoder, "load", lambda *_: Lengths())
    texts = {"condition": "text", "text_encoder": "lengths", "steps": 4}
    silent = write_set(tmp_path / "silent.parquet", told=False)
    with pytest.raises(UsageError, match=r"silent\.parquet holds no texts: encode images with captions"):
        loop.train_generator(recipe(tokens=str(silent), **texts), tmp_path / "run")
    data = {"train": [str(pictures / "day")], "crop": 24}
    monkeypatch.setattr(token_stream, "MOST_UNTOLD", 9)
    with pytest.raises(UsageError, match="no caption came with the first 12 crops"):
        loop.train_generator(recipe(data=data, tokenizer=str(tokenizer), **texts), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "learns from tokens=set.parquet, or from images"),
        ({"data": {"train": ["samples"]}}, "images become tokens by a tokenizer"),
        ({"tokens": "x", "condition": "text"}, "needs a text_encoder"),
        ({"tokens": "x", "start": "trained"}, "leave config out"),
    ],
)
def test_recipes_that_say_too_little_or_too_much(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**changes)
