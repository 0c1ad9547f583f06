"""Pairs of tokenizers that differ in the technique alone: training, measuring, intervals over seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from studies.common import Interval, Record, digest, interval, read_record, write_record
from studies.measure import load_model, measure, network
from studies.robusttok.settings import ARMS, GRID, Setting
from zellige.core.hub import WEIGHTS
from zellige.evaluate.environment import environment
from zellige.metrics.features import FeatureNetwork
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.recipe import Recipe
from zellige.train.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Judge:
    """Held-out images, uint8 (n, S, S, 3), and the network that sees them."""

    images: np.ndarray
    features: FeatureNetwork


def run(setting: Setting, arm: str, seed: int, data: Path, work: Path, judge: Judge) -> Record:
    """Train and measure one tokenizer, unless that is done; its figures and the folder of its model."""
    recipe = setting.recipe(data, arm, seed)
    apart = [text(recipe), text(setting.finishing(recipe, Path()))]
    folder = work / setting.name / f"{arm}-{seed}-{digest(apart)}"
    begun, finished = folder / "pixels", folder / "perceptual"
    measured = folder / f"measured-{digest([repr(setting.held_out), repr(GRID)])}.json"
    if not measured.is_file():
        _train(recipe, begun)
        _train(setting.finishing(recipe, begun), finished)
        found = measure(load_model(finished), judge.images, judge.features, GRID)
        write_record(measured, vars(found) | {"environment": environment(torch.device("cpu"))})
    return {"arm": arm, "seed": seed, **read_record(measured), "folder": finished}


def _train(recipe: Recipe, folder: Path) -> None:
    """Train to the end from wherever it stands."""
    if not (folder / WEIGHTS).is_file():
        train_tokenizer(recipe, folder, resume=(folder / CHECKPOINT).is_file())


def study(setting: Setting, seeds: int, data: Path, work: Path) -> tuple[Record, list[Record], Judge]:
    """All runs of a setting: the record of it, the runs with their folders, and what judged them."""
    source = str(data / setting.held_out.source)
    judge = Judge(replace(setting.held_out, source=source).load(), network())
    runs = []
    for seed in range(seeds):
        for arm in ARMS:
            runs.append(run(setting, arm, seed, data, work, judge))
            print(f"{setting.name}, {arm}, seed {seed}: {_in_words(runs[-1])}", flush=True)
    recipe = setting.recipe(Path(), "robust", 0)
    record = {
        "title": setting.title,
        "held_out": {**vars(setting.held_out), "count": len(judge.images)},
        "train": setting.train,
        "recipes of the robust arm": [json.loads(text(r)) for r in (recipe, setting.finishing(recipe, Path()))],
        "grid": GRID.describe(),
        "features": f"{judge.features.name}, {judge.features.resize}, weights {judge.features.fingerprint}",
        "runs": [{key: value for key, value in found.items() if key != "folder"} for found in runs],
        "summary": {key: vars(value) for key, value in summary(runs).items()},
    }
    return record, runs, judge


def summary(runs: Sequence[Record]) -> dict[str, Interval]:
    """Intervals over seeds of each figure of each arm, and of the change from plain to robust with the same seed."""
    arms = {arm: [found for found in runs if found["arm"] == arm] for arm in ARMS}
    found = {
        f"{figure}, {arm}": interval([line[figure] for line in lines])
        for figure in ("clean", "perturbed", "psnr", "used")
        for arm, lines in arms.items()
    }
    pairs = list(zip(arms["plain"], arms["robust"], strict=True))
    for figure in ("clean", "perturbed"):
        found[f"{figure}, change"] = interval([robust[figure] / plain[figure] - 1 for plain, robust in pairs])
    found["psnr, change"] = interval([robust["psnr"] - plain["psnr"] for plain, robust in pairs])
    return found


def text(recipe: Recipe) -> str:
    """What was set, without the places of files."""
    return recipe.model_dump_json(exclude={"data": {"train"}, "tokenizer": True}, exclude_unset=True)


def _in_words(found: Record) -> str:
    return f"clean {found['clean']:.1f}, perturbed {found['perturbed']:.1f}, PSNR {found['psnr']:.2f} dB"
