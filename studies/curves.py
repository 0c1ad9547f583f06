"""Generators that are trained once, with the cross-entropy of held-out tokens measured along the way.

Legend: B samples of a batch.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from studies.common import digest, read_record, write_record
from zellige.codec import TokenSet
from zellige.core.generator import Generator
from zellige.core.hub import WEIGHTS
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import GeneratorRun
from zellige.train.generator_recipe import GeneratorRecipe

BATCH = 32


class Learned(NamedTuple):
    """A finished training.

    Attributes:
        folder: of the run.
        curve: steps taken, and nats a held-out token then; the last of them is the end.
    """

    folder: Path
    curve: list[tuple[int, float]]

    @property
    def nats(self) -> float:
        """At the end."""
        return self.curve[-1][1]


def learn(recipe: GeneratorRecipe, place: Path, name: str, held_out: TokenSet) -> Learned:
    """The training of `recipe` in a folder of `place`, named by what was set beside the places of files.

    Whenever the run writes its log, the averaged weights are measured on all of `held_out`.
    """
    assert recipe.tokens is not None
    text = recipe.model_dump_json(exclude={"tokens", "tokenizer"}, exclude_unset=True)
    folder = place / f"{name}-{recipe.seed}-{digest([text, Path(recipe.tokens).name, str(len(held_out))])}"
    path = folder / "held-out.json"
    if not (folder / WEIGHTS).is_file():
        run = GeneratorRun(recipe, folder, resume=(folder / CHECKPOINT).is_file())
        curve = [point for point in _curve(path) if point[0] <= run.step]
        judged = copy.deepcopy(run.system).eval()

        def measure(line: dict[str, Any]) -> None:
            judged.load_state_dict(run.average)
            curve.append((line["step"], cross_entropy(judged, held_out)))
            write_record(path, {"curve": curve})

        run.train(measure)
    return Learned(folder, _curve(path))


@torch.inference_mode()
def cross_entropy(generator: Generator, held_out: TokenSet) -> float:
    """Nats a token of a set, each token given the class and whatever the generator is given in evaluation mode."""
    losses, labels = [], torch.from_numpy(held_out.labels)
    for rows in torch.arange(len(held_out)).split(BATCH):
        terms = generator.loss(held_out.tokens(rows), labels[rows])
        losses.append(float(terms["cross_entropy"]) * len(rows))
    return math.fsum(losses) / len(held_out)


def _curve(path: Path) -> list[tuple[int, float]]:
    return [(step, nats) for step, nats in read_record(path).get("curve", [])]
