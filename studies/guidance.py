"""What the strength of guidance does to samples, of the generator in the box and of one of CIFAR-10.

`python -m studies.guidance --data FOLDER` trains the generator of recipe ``llamagen/cifar10`` on the tokens of the
robust tokenizer of `studies.robusttok`, seed 0, unless that is done, and draws from it and from ``zellige-emoji``
with more and more guidance, from the same seeds. Measured are the Fréchet distance, precision and recall, the score,
and how often a linear probe takes a sample for the class that was asked for.

Runs are kept beside those of the tokenizers, in the same work folder. Legend: S pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from studies.charts import Panel, around, picture_grid, write_sheet
from studies.common import ROOT, Record, digest, options, parse, splice, table, write_record
from studies.measure import BATCH, network
from studies.probe import ClassProbe
from studies.robusttok import pairs
from studies.robusttok.generation import tokenize
from studies.robusttok.settings import SETTINGS, quick
from studies.runs import kept
from zellige.core.hub import WEIGHTS
from zellige.core.pixels import from_uint8, to_uint8
from zellige.data import open_images
from zellige.evaluate.environment import environment
from zellige.evaluate.generation import evaluate_generator
from zellige.evaluate.svg import Axis, Series
from zellige.generate.images import ImageGenerator, open_generator
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import FeatureNetwork
from zellige.metrics.neighbours import TORCH_FIDELITY
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import train_generator
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import load_recipe

NAME = "guidance"
TRAIN, TEST, EMOJI = "cifar10-train.parquet", "cifar10-test.parquet", "emoji-64.parquet"
RECIPE = "llamagen/cifar10"
DRAWN = 100
"""Samples that are drawn together: every pass of the network is for one token of each."""
FIGURES = {
    "gfd": ("gFD", ".1f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "score": ("IS", ".2f"),
    "agreement": ("class agreement", ".1%"),
}
"""What is shown of a strength, and its format; ``gfd`` and ``score`` are of EfficientNet-Lite0."""


@dataclass(frozen=True)
class Guidance:
    """What is drawn, and how it is judged.

    Attributes:
        strengths: of guidance; 1 is none.
        images: of CIFAR-10 that become tokens, and that the probe is fitted to (at most ``probed``).
        samples: of each strength, with the classes of as many images, by the name of the generator.
        training: of CIFAR-10's generator, where it is not that of its recipe.
    """

    strengths: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0, 3.0)
    images: int = 50_000
    probed: int = 5000
    samples: int = 1000
    training: tuple[str, ...] = ()


QUICK = Guidance(
    strengths=(1.0, 3.0),
    images=24,
    probed=24,
    samples=8,
    training=("batch_size=4", "steps=2", "config.dim=16", "config.depth=1", "config.heads=2", "config.hidden=16"),
)
"""The same in seconds, to see that everything runs; its figures say nothing."""


@dataclass(frozen=True)
class Subject:
    """A generator and the sets that it is judged by.

    Attributes:
        references: samples are of the classes of these images, and compared with them.
        fitted: images that the probe is fitted to.
    """

    title: str
    images: ImageGenerator
    references: Path
    fitted: Path


class Kept(ImageGenerator):
    """Draws images and keeps them, with the classes that were asked for."""

    def __init__(self, images: ImageGenerator) -> None:
        super().__init__(images.generator, images.tokenizer, images.precision)
        self.drawn: list[tuple[Tensor, Tensor]] = []

    def draw(self, condition: Any, seeds: Sequence[int], **settings: Any) -> Tensor:
        pixels = super().draw(condition, seeds, **settings)
        if not isinstance(condition, int):  # one class alone is the draw that tells the size
            self.drawn.append((pixels, torch.as_tensor(condition)))
        return pixels


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record, pictures and table."""
    wanted = parse(options(NAME, str(__doc__).partition("\n")[0], "robusttok"), arguments)
    small = wanted.scale == "quick"
    guidance = QUICK if small else Guidance()
    work, data = wanted.work / wanted.scale, wanted.data
    subjects = [cifar(guidance, data, work, small), emoji(data)]
    features = network()
    record: Record = {"study": NAME, "guidance": vars(guidance), "recipe": RECIPE, "subjects": {}}
    record["environment"] = environment(torch.device("cpu"))
    pictures = wanted.output or ROOT / "docs" / "images"
    picture(subjects[0], guidance, pictures / "cifar10-samples.jpg")
    for subject in subjects:  # what there is of an interrupted study is recorded
        record["subjects"][subject.images.generator.name] = curve(subject, guidance, features, work / NAME)
        write_record((wanted.output or ROOT / "studies" / "results") / f"{NAME}.json", record)
        chart(record, pictures / "guidance.svg")
        if wanted.output is None:
            splice(ROOT / "docs" / "studies.md", NAME, table_of(record))
    print(table_of(record))


def cifar(guidance: Guidance, data: Path, work: Path, small: bool) -> Subject:
    """The generator of the recipe, trained now or before, on the tokens of the robust tokenizer of seed 0."""
    setting = quick(SETTINGS["cifar10"]) if small else SETTINGS["cifar10"]
    held_out = replace(setting.held_out, source=str(data / setting.held_out.source))
    model = pairs.run(setting, "robust", 0, data, work, pairs.Judge(held_out.load(), network()))["folder"]
    tokens, folder = model.parent / f"tokens-{guidance.images}.parquet", model.parent / "generator-of-recipe"
    if not tokens.is_file():
        tokenize(model, [data / TRAIN], guidance.images, tokens)
    if not (folder / WEIGHTS).is_file():
        recipe = load_recipe(RECIPE, [f"tokens={tokens}", f"tokenizer={model}", *guidance.training])
        assert isinstance(recipe, GeneratorRecipe)
        train_generator(recipe, folder, resume=(folder / CHECKPOINT).is_file())
    return Subject("CIFAR-10, 32 px", open_generator(str(folder)), data / TEST, data / TRAIN)


def emoji(data: Path) -> Subject:
    """The generator in the box, which has seen all emoji there are: it is compared with what it learned from."""
    return Subject("emoji, 64 px", open_generator("zellige-emoji"), data / EMOJI, data / EMOJI)


def curve(subject: Subject, guidance: Guidance, features: FeatureNetwork, work: Path) -> Record:
    """The figures of each strength, and how often the probe is right about the references themselves."""
    generator, points = subject.images.generator, []
    probe = ClassProbe.fit(features, labelled(subject.fitted, guidance.probed), generator.classes)
    judged = f"{generator.fingerprint()} {subject.references.name} {guidance.samples} {guidance.probed}"
    for strength in guidance.strengths:
        place = work / f"{subject.references.stem}-{strength}-{digest([judged])}.json"
        measured = partial(measure, subject, strength, guidance.samples, features, probe)
        points.append({"guidance": strength, **kept(place, measured)})
        print(f"{subject.title}, guidance {strength}: gFD {points[-1]['gfd']:.1f}", flush=True)
    return {
        "title": subject.title,
        "fingerprint": generator.fingerprint(),
        "temperature": generator.config.temperature,
        "references": agreement(probe, labelled(subject.references, guidance.samples)),
        "points": points,
    }


def measure(subject: Subject, strength: float, samples: int, features: FeatureNetwork, probe: ClassProbe) -> Record:
    """The figures of the samples of one strength, drawn from the same seeds as those of any other."""
    images = Kept(subject.images)
    result = evaluate_generator(
        images,
        subject.references,
        batch_size=DRAWN,
        limit=samples,
        names=["fd", "prc", "is"],
        distances=FeatureDistances(features, manifold=TORCH_FIDELITY),
        options={"guidance": strength},
    )
    found = {measurement.protocol.metric: measurement for measurement in result.measurements}
    name = features.name
    distance = found[f"gFD-{name}"].on(reference=subject.references.name)
    return {
        "gfd": distance.value,
        "precision": found[f"precision of {name}"].value,
        "recall": found[f"recall of {name}"].value,
        "score": found[f"IS-{name}"].value,
        "agreement": agreement(probe, images.drawn),
        "protocol": distance.protocol.describe(),
    }


def labelled(source: Path, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `count` images of a set, (B, 3, S, S), with their classes (B,)."""
    records = islice(open_images(source), count)
    while batch := list(islice(records, BATCH)):
        labels = torch.tensor([record.label for record in batch])
        yield from_uint8(np.stack([record.image for record in batch])), labels


def agreement(probe: ClassProbe, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The share of images that the probe takes for what they are to be."""
    right = torch.cat([probe(images) == labels for images, labels in batches])
    return float(right.double().mean())


def table_of(record: Record) -> str:
    """The table that the docs show."""
    head = ("generator", "guidance", *(words for words, _ in FIGURES.values()))
    rows = []
    for subject in record["subjects"].values():
        for point in subject["points"]:
            figures = (f"{point[figure]:{form}}" for figure, (_, form) in FIGURES.items())
            rows.append((subject["title"], f"{point['guidance']:g}", *figures))
        rows.append((subject["title"], "images", *["–"] * (len(FIGURES) - 1), f"{subject['references']:.1%}"))
    return table(head, rows)


def chart(record: Record, path: Path) -> None:
    """Distance and agreement over the strength, a row a generator."""
    rows = []
    for subject in record["subjects"].values():
        row = []
        for colour, figure, label in (("c0", "gfd", "gFD"), ("c1", "agreement", "class agreement")):
            points = [(point["guidance"], point[figure]) for point in subject["points"]]
            strengths, values = zip(*points, strict=True)
            axes = Axis("guidance", min(strengths), max(strengths)), around(label, values)
            row.append(Panel(subject["title"], [Series("", colour, points, [f"{value:g}" for value in values])], *axes))
        rows.append(row)
    write_sheet(path, rows)


def picture(subject: Subject, guidance: Guidance, path: Path) -> None:
    """Samples of every class from the same seeds: a row a strength and seed, a column a class."""
    generator = subject.images.generator
    rows = []
    for strength in guidance.strengths:
        for seed in range(2):
            seeds = [seed * generator.classes + label for label in range(generator.classes)]
            drawn = to_uint8(subject.images.draw(range(generator.classes), seeds, guidance=strength))
            rows.append((f"{strength:g}" if seed == 0 else "", list(drawn)))
    picture_grid(path, rows, [name.replace("auto", "auto-\n") for name in generator.config.class_names], side=64)


if __name__ == "__main__":
    main()
