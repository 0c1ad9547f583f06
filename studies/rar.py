"""Random orders that give way to raster order, and classes under guidance: RAR (arXiv 2411.00776).

`python -m studies.rar --data FOLDER` trains the same small RAR three times on CIFAR-10 as 64 patches, each one of 256
k-means centres: in random orders that are annealed to raster order, in raster order alone, in random orders alone.
Asked for: held-out cross-entropy in raster order ends lower by 0.5 % or more than with raster order alone, and below
that of random orders alone. As raster order alone soon overfits, how it compares where that is lowest is shown too.

Then the annealed one draws with more and more guidance, as in `studies.guidance`. Asked for: its samples are taken for
their classes more often, and are less diverse: those of a class lie closer together, and they cover less of the images
(recall).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from studies.common import Record, interval, options, parse, publish, table
from studies.curves import Learned, learn
from studies.guidance import DRAWN, Guidance, Subject, curve, table_of
from studies.measure import network
from studies.patches import PatchCodes
from zellige.core.generator import Generator
from zellige.core.hub import load
from zellige.core.tokens import layout_size
from zellige.evaluate.environment import hardware
from zellige.generate.images import ImageGenerator
from zellige.metrics.features import FeatureNetwork
from zellige.train.generator_recipe import GeneratorRecipe

NAME, TITLE = "rar", "CIFAR-10, 32 px"
TRAIN, TEST = "cifar10-train.parquet", "cifar10-test.parquet"
ORDERS = {"annealed": (0.5, 0.75), "raster": (0.0, 0.0), "random": (1.0, 1.0)}
"""The shares of the training between which random orders give way to raster order."""
GAIN = 0.005
GUIDANCE = Guidance(strengths=(1.0, 4.0, 16.0), samples=500, probed=3000)
SHOWN = 4
"""Points of a curve in the table."""


@dataclass(frozen=True)
class Orders:
    """The generator that is trained in each of `ORDERS`.

    Attributes:
        images: of the training set, from its start, in each of the comparisons.
        held_out: images of the test set, from its start.
        codes: K, of patches of 4×4 pixels.
        steps: of training, each of ``batch_size`` samples.
        dim: channels of the transformer, of ``depth`` blocks with ``heads`` of attention and ``hidden`` in their MLP.
    """

    images: tuple[int, ...] = (3000,)
    held_out: int = 512
    codes: int = 256
    steps: int = 1200
    batch_size: int = 32
    dim: int = 128
    depth: int = 4
    heads: int = 4
    hidden: int = 512

    def recipe(self, tokens: Path, arm: str, seed: int) -> GeneratorRecipe:
        """The training of one generator."""
        return GeneratorRecipe.model_validate(
            {
                "generator": "rar/small",
                "config": {
                    "dim": self.dim,
                    "depth": self.depth,
                    "heads": self.heads,
                    "hidden": self.hidden,
                    "anneal": list(ORDERS[arm]),
                    "dropout": 0.1,
                    "attention_dropout": 0.0,
                },
                "tokens": str(tokens),
                "optimizer": {
                    "lr": 2e-3,
                    "betas": [0.9, 0.96],
                    "weight_decay": 0.03,
                    "warmup": min(50, self.steps // 4),
                    "final": 0.02,
                },
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": max(1, self.steps // 8),
                "checkpoint_every": max(1, self.steps // 4),
                "sample_every": 0,
            }
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and tables."""
    parser = options(NAME, str(__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=1)
    wanted = parse(parser, arguments)
    orders, guidance = Orders(), GUIDANCE
    if wanted.scale == "quick":
        guidance = replace(guidance, strengths=(1.0, 4.0), samples=20, probed=24)
        small = {"dim": 16, "depth": 1, "heads": 2, "hidden": 16}
        orders = Orders(images=(10, 16), held_out=12, codes=64, steps=4, batch_size=4, **small)
    record = study(orders, guidance, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, f"{orders_table(record)}\n\n{table_of(record)}\n\n{verdicts_of(record)}", wanted.output)


def study(orders: Orders, guidance: Guidance, seeds: int, data: Path, work: Path) -> Record:
    """The record of all runs."""
    codes, features = PatchCodes.of(data / TRAIN, 4, orders.codes), network()
    test = codes.token_set(data / TEST, orders.held_out, work / f"held-out-{orders.codes}-{orders.held_out}.parquet")
    runs = []
    finished: dict[tuple[int, str, int], Learned] = {}
    for count in orders.images:
        tokens = codes.token_set(data / TRAIN, count, work / f"tokens-{orders.codes}-{count}.parquet").path
        for seed in range(seeds):
            for arm in ORDERS:
                learned = learn(orders.recipe(tokens, arm, seed), work, f"{NAME}-{arm}", test)
                finished[count, arm, seed] = learned
                runs.append({"images": count, "arm": arm, "seed": seed, "curve": learned.curve})
                print(f"{count} images, {arm}, seed {seed}: {learned.nats:.3f} nats", flush=True)
    annealed = finished[max(orders.images), "annealed", 0].folder
    generator = load(str(annealed), kind=Generator, quiet=True)  # type: ignore[type-abstract]
    images = ImageGenerator(generator, codes)
    subject = Subject("RAR, annealed", images, data / TEST, data / TRAIN)
    return {
        "study": NAME,
        "paper": "arXiv 2411.00776",
        "title": TITLE,
        "recipe": json.loads(
            orders.recipe(Path(), "annealed", 0).model_dump_json(exclude={"tokens"}, exclude_unset=True)
        ),
        "held_out": orders.held_out,
        "runs": runs,
        "drawing": {"strengths": guidance.strengths, "samples": guidance.samples, "probed": guidance.probed},
        "weights": [_weights(images, strength) for strength in guidance.strengths],
        "spread": [_spread(images, strength, guidance.samples, features) for strength in guidance.strengths],
        "subjects": {"rar": curve(subject, guidance, features, annealed)},
        "hardware": hardware(torch.device("cpu")),
    }


def orders_table(record: Record) -> str:
    """Held-out cross-entropy along the training: a row for each of `ORDERS` and each number of images."""
    steps = [step for step, _ in record["runs"][0]["curve"]]
    shown = steps[len(steps) % SHOWN :][len(steps) // SHOWN - 1 :: len(steps) // SHOWN]
    rows = []
    for images in sorted({found["images"] for found in record["runs"]}):
        ends = {arm: _at(record, images, arm, shown[-1]) for arm in ORDERS}
        best = _lowest(record, images, "raster")
        for arm in ORDERS:
            values = [interval(_at(record, images, arm, step)).show(".3f") for step in shown]
            lowest = interval(_lowest(record, images, arm)).show(".3f")
            rows.append((f"{images:,} images, {arm}", *values, lowest, _verdict(arm, ends, best)))
    return table(("nats a token, raster order", *(f"step {step}" for step in shown), "lowest", "asked for"), rows)


def verdicts_of(record: Record) -> str:
    """What the strongest guidance is to change, and the weights of the schedule at the first and the last token."""
    points, samples = record["subjects"]["rar"]["points"], record["drawing"]["samples"]
    none, most = points[0], points[-1]
    deviation = math.sqrt(sum(point["agreement"] * (1 - point["agreement"]) for point in (none, most)) / samples)
    rises, falls = most["agreement"] - none["agreement"], most["recall"] - none["recall"]
    tight = record["spread"][-1] / record["spread"][0] - 1
    first, last = record["weights"][-1]
    rows = [
        ("class agreement rises", f"{rises:+.1%} ± {2 * deviation:.1%}", _met(rises > 2 * deviation)),
        ("spread within a class falls", f"{tight:+.1%}", _met(tight < 0)),
        ("recall falls", f"{falls:+.3f}", _met(falls < 0)),
        (
            "the schedule begins at 1 and ends below",
            f"{first:g} and {last:.3f}",
            _met(first == 1 and last < most["guidance"]),
        ),
    ]
    head = (f"guidance {most['guidance']:g} beside {none['guidance']:g}", "", "asked for")
    return table(head, [(words, found.replace("-", "−"), met) for words, found, met in rows])


def _weights(images: ImageGenerator, strength: float) -> tuple[float, float]:
    """Of guidance at the first and the last token."""
    generator = images.generator
    guide, tokens = generator.settings({"guidance": strength}).guide(), layout_size(generator.spec.layout)
    return guide.at(0.0), guide.at((tokens - 1) / tokens)


@torch.no_grad()
def _spread(images: ImageGenerator, strength: float, samples: int, features: FeatureNetwork) -> float:
    """Mean squared distance of features of samples from the mean of their class; as many samples of each class."""
    seeds = torch.arange(samples)
    classes = seeds % images.generator.classes
    parts = seeds.split(DRAWN)
    found = torch.cat([features(images.draw(classes[part], part.tolist(), guidance=strength)) for part in parts])
    return statistics.fmean(float(found[classes == label].var(0).sum()) for label in classes.unique())


def _lowest(record: Record, images: int, arm: str) -> list[float]:
    """Nats of all seeds where their curve is lowest."""
    runs = [found for found in record["runs"] if (found["images"], found["arm"]) == (images, arm)]
    return [min(nats for _, nats in found["curve"]) for found in runs]


def _at(record: Record, images: int, arm: str, step: int) -> list[float]:
    """Nats of all seeds at a step."""
    runs = [found for found in record["runs"] if (found["images"], found["arm"]) == (images, arm)]
    return [nats for found in runs for at, nats in found["curve"] if at == step]


def _verdict(arm: str, ends: dict[str, list[float]], best: list[float]) -> str:
    """What annealed orders are to be below after as many steps, and whether they are, in the mean over the seeds.

    Beside the end of raster order, how they compare with `best`, where that was lowest.
    """
    mean = {name: interval(values).mean for name, values in ends.items()}
    if arm == "raster":
        change, least = (mean["annealed"] / nats - 1 for nats in (mean["raster"], interval(best).mean))
        found = f"{change:+.1%}, {_met(change <= -GAIN)}; beside its lowest {least:+.1%}"
        return f"annealed −{GAIN:.1%} or lower: {found}".replace("-", "−")
    if arm == "random":
        return f"annealed below: {_met(mean['annealed'] < mean['random'])}"
    return ""


def _met(holds: bool) -> str:
    return "met" if holds else "not met"


if __name__ == "__main__":
    main()
