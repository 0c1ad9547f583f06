"""Learning a teacher's codes: whose they are, what is trained, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.core.hub import WEIGHTS, load, write_model
from zellige.core.registry import build
from zellige.train.recipe import Recipe
from zellige.train.teacher import TeacherCodes
from zellige.train.tokenizer import train_tokenizer

TEACHER: dict[str, Any] = {
    "channels": 32,
    "multipliers": [1, 1, 1, 2],
    "latent": 8,
    "dim": 8,
    "blocks": 1,
    "decoder_blocks": 1,
    "middle_blocks": 1,
    "quantizer_settings": {"codes": 16},
}
STUDENT: dict[str, Any] = {
    "image_size": 32,
    "patch": 8,
    "width": 32,
    "depth": 1,
    "decoder_width": 32,
    "decoder_depth": 1,
    "head_width": 16,
    "latents": 6,
    "quantizer_settings": {"codes": 20, "normalize": True},
    "scrambled": False,
    "teacher_codes": 16,
    "teacher_dim": 8,
    "teacher_channels": 32,
    "teacher_multipliers": [1, 1, 1, 2],
    "teacher_blocks": 1,
}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "teacher" / WEIGHTS
    write_model(build("maskgit-vqgan", **TEACHER), path)
    return path.parent


def recipe(teacher: Path | str | None, **changes: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "tokenizer": "titok",
            "config": STUDENT,
            "data": {"train": ["samples"], "crop": 32},
            "loss": {"mse": 0.0, "teacher": {"tokenizer": None if teacher is None else str(teacher)}},
            "optimizer": {"lr": 3e-3, "warmup": 2},
            "batch_size": 4,
            "steps": 12,
            "precision": "fp32",
            "ema": 0.0,
            "log_every": 1,
            "sample_every": 0,
        }
        | changes
    )


def test_the_codes_are_learned_and_the_teachers_decoder_stays(teacher: Path, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    train_tokenizer(recipe(teacher), tmp_path / "first", on_log=lines.append)
    assert "mse" not in lines[0]
    assert sum(line["teacher"] for line in lines[-3:]) < 0.9 * sum(line["teacher"] for line in lines[:3])
    assert all(0 <= line["teacher_accuracy"] <= 1 for line in lines)
    student, master = load(tmp_path / "first"), load(teacher)
    for key, value in master.decoder.state_dict().items():
        assert torch.equal(student.painter.painter.state_dict()[key], value)
    assert torch.equal(student.painter.codes.weight, master.quantizer.lookup(torch.arange(16)))

    # The second stage moves the painter, and no code.
    second = recipe(None, tokenizer=str(tmp_path / "first"), start="trained", trains="decoder", config={}, loss={})
    train_tokenizer(second, tmp_path / "second")
    after = load(tmp_path / "second")
    assert not torch.equal(after.painter.painter.conv_in.weight, student.painter.painter.conv_in.weight)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(after.encode(x).data, student.encode(x).data)


def test_sure_scores_paint_as_the_teacher_does(teacher: Path) -> None:
    master, student = load(teacher).eval(), build("titok", **STUDENT).eval()
    student.follow(master)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own = master.encode(x)
    sure = 1e3 * torch.nn.functional.one_hot(own.data, 16).float().transpose(1, 2).unflatten(2, (4, 4))
    with torch.no_grad():
        torch.testing.assert_close(
            student.painter.paint(sure) * 2 - 1, master.pixels(master.quantizer.lookup(own.data), (4, 4))
        )
        nats, right = TeacherCodes(master)(sure, x)
    assert (float(nats), float(right)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("config", "other", "message"),
    [
        ({"head": "pixels"}, {}, "predicts no teacher's codes"),
        ({}, {"channels": 64}, "paints with channels 32, .* with 64"),
        ({}, {"norm": "channel"}, "paints with norm group, .* with channel"),
        ({}, {"quantizer_settings": {"codes": 17}}, "teacher_codes is 16; .* has 17"),
        ({}, {"pixel_range": "signed"}, "is a maskgit-vqgan"),
    ],
)
def test_another_teacher_is_refused(config: dict[str, Any], other: dict[str, Any], message: str) -> None:
    student, master = build("titok", **STUDENT | config), build("maskgit-vqgan", **TEACHER | other)
    with pytest.raises(UsageError, match=message):
        student.follow(master)


def test_other_tokenizers_have_no_teacher(teacher: Path) -> None:
    with pytest.raises(UsageError, match=r"leave loss\.teacher out"):
        build("maskgit-vqgan", **TEACHER).follow(load(teacher))


def test_a_recipe_needs_pixels_or_a_teacher() -> None:
    with pytest.raises(ValueError, match="name a teacher"):
        recipe(None)
