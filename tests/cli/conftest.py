"""Runs the command line in this process, on a tiny tokenizer and pictures drawn here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zellige as library
from zellige.cli import console
from zellige.cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What one command line did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def refused(self, code: int, *words: str) -> None:
        """Check an error: its exit code, and exactly one line that holds all `words`."""
        assert self.code == code, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("zellige: error: ")
        assert "bug" not in lines[0], lines[0]
        for word in words:
            assert word in lines[0], (word, lines[0])

    def done(self) -> Outcome:
        """Check that it succeeded."""
        assert self.code == 0, self
        return self


Run = Callable[..., Outcome]


@pytest.fixture
def zellige(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`zellige("list", "--json")` runs that command line."""
    # What a slow machine prints while one waits would otherwise stand among the lines that tests count.
    monkeypatch.setattr(console, "EVERY", math.inf)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


def tiny_tokenizer(folder: Path, seed: int) -> Path:
    """A saved convolutional tokenizer of stride 4 with a few thousand parameters."""
    torch.manual_seed(seed)
    model = library.build(
        "vqgan/f16",
        channels=8,
        multipliers=[1, 2],
        patch=2,
        blocks=1,
        decoder_blocks=1,
        latent=4,
        norm="channel",
        attention=False,
        dim=4,
        quantizer="fsq",
        quantizer_settings={"levels": [5, 5, 5, 5]},
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny tokenizer, fresh weights."""
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"), seed=0)


@pytest.fixture(scope="session")
def other_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tokenizer of the same shape with other weights."""
    return tiny_tokenizer(tmp_path_factory.mktemp("other"), seed=1)


def draw(path: Path, width: int = 40, height: int = 28, seed: int = 0) -> Path:
    """Write a smooth coloured picture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """One picture of a size that the stride does not divide."""
    return draw(tmp_path / "photo.png", 41, 27)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of three sizes, one of them in a subfolder."""
    for i, (width, height) in enumerate([(40, 28), (28, 40), (40, 28), (39, 26), (33, 33)]):
        draw(tmp_path / "set" / f"{i}.png", width, height, seed=i)
    draw(tmp_path / "set" / "sub" / "5.png", 40, 28, seed=5)
    return tmp_path / "set"
