"""Runs with techniques: one word in any recipe, and exactly resumable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.core.hub import load
from zellige.core.tensors import read_tensors
from zellige.train import techniques
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.recipe import Recipe, load_recipe
from zellige.train.tokenizer import train_tokenizer

SMALL = ["config={channels: 16, blocks: 1, decoder_blocks: 1}", "data.crop=32", "batch_size=4", "log_every=1"]


class Colours(torch.nn.Module):
    """A frozen encoder: mean colours."""

    width = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


@pytest.fixture(autouse=True)
def _encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(techniques.ENCODERS, "colours", lambda _: Colours())


def recipe(*overrides: str) -> Recipe:
    return load_recipe("zellige-photo/tiny", [*SMALL, *overrides])


def curve(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines]


class Stop(Exception):
    """Stands for a kill: nothing is saved on the way out."""


def stop(line: dict[str, Any]) -> None:
    if line["step"] == 5:
        raise Stop


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    both = ["technique=perturbation", "technique.beta=0.5", "technique=alignment", "technique.encoder=colours"]
    settings = recipe("steps=6", "checkpoint_every=4", "accumulate=2", *both)
    train_tokenizer(settings, tmp_path / "whole")
    with pytest.raises(Stop):
        train_tokenizer(settings, tmp_path / "killed", on_log=stop)
    train_tokenizer(settings, tmp_path / "killed", resume=True)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    whole, killed = (read_tensors(tmp_path / name / CHECKPOINT) for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[key]) for key, value in whole.items())
    assert {"techniques.members.alignment.project.weight", "techniques.members.alignment.project.bias"} <= whole.keys()
    model = load(tmp_path / "whole")  # which knows nothing of techniques
    assert not [key for key in model.state_dict() if "members" in key]
    lines = curve(tmp_path / "whole")
    assert all(line["perturbed"] > 0 and line["semantic"] > 0 for line in lines)
    assert lines[0]["perturb_alpha"] > lines[-1]["perturb_alpha"]


def test_perturbation_changes_what_is_learned_and_nothing_else(tmp_path: Path) -> None:
    plain, robust = (recipe("steps=2", *more) for more in ([], ["technique=perturbation"]))
    for settings, name in ((plain, "plain"), (robust, "robust")):
        train_tokenizer(settings, tmp_path / name)
    first, second = (read_tensors(tmp_path / name / CHECKPOINT) for name in ("plain", "robust"))
    assert first.keys() == second.keys()
    assert curve(tmp_path / "plain")[0]["mse"] != curve(tmp_path / "robust")[0]["mse"]
    assert curve(tmp_path / "plain")[0]["usage"] == curve(tmp_path / "robust")[0]["usage"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["technique=pertubation"], "unknown technique 'pertubation'; did you mean perturbation"),
        (
            ["technique=perturbation", "technique.gamma=1"],
            "'gamma': there is no such setting; its settings are alpha",
        ),
        (["technique=perturbation", "technique.alpha=2"], "alpha"),
        (["technique=perturbation", "technique.alpha=[1]"], "technique 'perturbation': 'alpha': input should be"),
        (["technique=perturbation", "technique.delta=2.5"], "'delta': input should be a valid integer"),
        (["technique=perturbation", "technique.around=3"], "'around': input should be 'feature' or 'code'"),
        (["technique=perturbation", "technique.delta=10000000"], "delta=10000000 neighbours"),
        (["technique=perturbation", "technique.beta=0.2"], "beta=0.2 of batches of 4"),
        (["technique=alignment", "technique.encoder=dinov9"], "unknown encoder 'dinov9'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        train_tokenizer(recipe(*overrides), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "want"),
    [
        (["technique=perturbation"], {"perturbation": {}}),
        (["technique.alpha=0.5", "technique=perturbation"], {"perturbation": {"alpha": 0.5}}),
        (
            ["technique=alignment", "technique.weight=2", "technique=perturbation", "technique.alpha=1"],
            {"alignment": {"weight": 2}, "perturbation": {"alpha": 1}},
        ),
        (["techniques=[perturbation, {alignment: {weight: 2}}]"], {"perturbation": {}, "alignment": {"weight": 2}}),
        (["techniques={perturbation: }"], {"perturbation": {}}),
        (["techniques.perturbation.delta=9"], {"perturbation": {"delta": 9}}),
    ],
)
def test_spellings(overrides: list[str], want: dict[str, object]) -> None:
    assert recipe(*overrides).techniques == want


def test_the_one_technique_of_a_recipe_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = "tokenizer: vqgan/f8\ndata: {train: [samples]}\ntechniques: [{perturbation: {delta: 9}}]\n"
    path.write_text(text, "utf-8")
    assert load_recipe(str(path), ["technique.alpha=0.5"]).techniques == {"perturbation": {"delta": 9, "alpha": 0.5}}
    for wrong, message in (
        ("technique.alpha=1", "names no technique"),
        ("techniques=3", "'techniques': input should be a valid dictionary"),
        ("techniques=[[a]]", "'techniques': input should be a valid dictionary"),
    ):
        with pytest.raises(UsageError, match=message):
            recipe(wrong)
