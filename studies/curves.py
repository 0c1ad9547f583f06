"""Generators that are trained once, with the cross-entropy of held-out tokens measured along the way.

Legend: B samples of a batch.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import NamedTuple

import torch

from studies.common import Record, read_record, write_record
from studies.runs import trained_generator
from zellige.codec import TokenSet
from zellige.core.generator import Generator
from zellige.train.generator import GeneratorRun
from zellige.train.generator_recipe import GeneratorRecipe

BATCH, CURVE = 32, "held-out.json"


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
    """The training of `recipe` in a folder of `place`, as `trained_generator` names it.

    Whenever the run writes its log, the averaged weights are measured on all of `held_out`.
    """

    def measure(run: GeneratorRun, line: Record) -> None:
        judged = copy.deepcopy(run.system).eval()
        judged.load_state_dict(run.average)
        earlier = [point for point in _curve(run.output) if point[0] < run.step]  # a run may have gone back
        point = (run.step, cross_entropy(judged, held_out))
        write_record(run.output / CURVE, {"curve": [*earlier, point]})

    folder = trained_generator(recipe, place, f"{name}-{len(held_out)}", watch=measure)
    return Learned(folder, _curve(folder))


@torch.inference_mode()
def cross_entropy(generator: Generator, held_out: TokenSet) -> float:
    """Nats a token of a set, each token given the class and whatever the generator is given in evaluation mode."""
    losses, labels = [], torch.from_numpy(held_out.labels)
    for rows in torch.arange(len(held_out)).split(BATCH):
        terms = generator.loss(held_out.tokens(rows), labels[rows])
        losses.append(float(terms["cross_entropy"]) * len(rows))
    return math.fsum(losses) / len(held_out)


def _curve(folder: Path) -> list[tuple[int, float]]:
    return [(step, nats) for step, nats in read_record(folder / CURVE).get("curve", [])]
