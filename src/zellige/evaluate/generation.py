"""How well a generator draws: its samples as a set beside a set of images.

    images ─ squares ────────────────────────┐
       │ class of each                        ├→ Fréchet and kernel distance, precision and recall
    generator ─ Tokens ─ tokenizer ─ pixels ──┴→ Inception Score

As many images are drawn as there are references, of the same classes. Legend: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zellige.core.condition import Condition
from zellige.core.contract import Model
from zellige.core.errors import UsageError, ZelligeError, nearest
from zellige.core.pixels import from_uint8, to_uint8
from zellige.data import ImageRecord, ImageSource, open_images
from zellige.evaluate.environment import environment
from zellige.evaluate.result import plain
from zellige.evaluate.selection import SET_NAMES, set_distances
from zellige.evaluate.sizes import resize_name, sized
from zellige.generate.images import ImageGenerator
from zellige.metrics import Measurement, Rounding
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import class_logits
from zellige.metrics.inception_score import InceptionScore

GENERATION_NAMES = (*SET_NAMES, "is")
"""Fréchet distance (gFID, or gFD of another network), kernel distance, precision and recall, Inception Score."""
SHOWN = 64
"""Samples that are kept to be looked at."""


@dataclass(frozen=True)
class ModelFacts:
    """Which weights were measured."""

    name: str
    fingerprint: str
    licence: str
    parameters: int

    @classmethod
    def of(cls, model: Model) -> ModelFacts:
        return cls(model.name, model.fingerprint(), model.licence, sum(p.numel() for p in model.parameters()))


@dataclass(frozen=True)
class GenerationResult:
    """Everything that one evaluation of a generator found.

    Attributes:
        source: name of the set of images; ``count`` of them, and as many samples.
        sampling: guidance, temperature, …, and the ``seed`` of the first sample.
        measurements: the figures, each with its protocol.
        samples: some of the drawn images, uint8 (n, H, W, 3).
        skipped: files that could not be read, and why; `skipped_count` counts those beyond the list too.
        unmeasured: figures that could not be had, and why.
    """

    generator: ModelFacts
    tokenizer: ModelFacts
    source: str
    count: int
    sampling: dict[str, Any]
    measurements: tuple[Measurement, ...]
    samples: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    skipped_count: int
    environment: dict[str, str]
    command: str = ""
    unmeasured: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, key: str) -> Measurement:
        """The measurement of a key: ``result["gfid/torch_fidelity"]``."""
        for measurement in self.measurements:
            if measurement.protocol.key == key:
                return measurement
        raise KeyError(f"no '{key}'; there are {', '.join(m.protocol.key for m in self.measurements)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready: everything but the pictures."""
        return {name: plain(value) for name, value in vars(self).items() if name != "samples"}


def evaluate_generator(
    images: ImageGenerator,
    source: str | Path | ImageSource,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    rounding: Rounding = "uint8",
    names: Sequence[str] | None = None,
    distances: FeatureDistances | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    command: str = "",
    progress: Callable[[int], None] | None = None,
) -> GenerationResult:
    """Draw as many images as `source` has and compare the sets.

    Where the images have classes that the generator knows, each sample is of the class of its reference; otherwise
    the classes take turns. References are cropped to squares of the size of the samples.

    Args:
        images: the generator with its tokenizer.
        source: what `zellige.data.open_images` takes, or what it returns.
        batch_size: samples drawn at a time.
        limit: at most so many references, and samples.
        rounding: measure samples rounded to ``uint8``, as they would be saved, or as ``float``.
        names: metrics, of `GENERATION_NAMES`; None is all of them.
        distances: of a network of one's own, fresh; by default Inception, or what serves in its place.
        seed: of the first sample.
        options: values for sampling, as `Generator.sample` takes them.
        command: the command line, for the record.
        progress: called with the number of images done, after every batch.

    Raises:
        UsageError: a name is unknown, or no feature network has its weights on this machine; the generator needs
            texts.
        ZelligeError: no image could be read.
    """
    for name in names or ():
        if name not in GENERATION_NAMES:
            raise nearest(name, list(GENERATION_NAMES), "metric of generators")
    if images.generator.text_dim:
        raise UsageError(f"{images.generator.name} draws from texts; sets are compared for classes, or without any")
    wanted = set(names or GENERATION_NAMES)
    options = dict(options or {})
    settings = images.generator.settings(options)
    run = _Run(images, distances or set_distances(wanted, rounding), "is" in wanted, seed, options)
    found = open_images(source) if isinstance(source, (str, Path)) else source
    label_of, how = _labels(images, found)
    records = sized(islice(found, limit), run.side)
    while batch := list(islice(records, batch_size)):
        run.add(batch, [label_of(record, run.count + i) for i, record in enumerate(batch)])
        if progress:
            progress(run.count)
    if not run.count:
        raise ZelligeError(f"no image of {found.name} could be read; {found.skipped_count} were skipped")
    sampling = {key: getattr(settings, key) for key in images.generator.sampling if hasattr(settings, key)}
    drawn = ", ".join([*(f"{key} {value}" for key, value in sampling.items()), f"seed {seed}", *([how] if how else [])])
    measurements, unmeasured = run.figures(wanted)
    return GenerationResult(
        generator=ModelFacts.of(images.generator),
        tokenizer=ModelFacts.of(images.tokenizer),
        source=found.name,
        count=run.count,
        sampling={**sampling, "seed": seed},
        measurements=tuple(_described(m, found.name, resize_name(run.side), drawn) for m in measurements),
        samples=np.concatenate(run.shown)[:SHOWN],
        skipped=tuple((skip.key, skip.reason) for skip in found.skipped),
        skipped_count=found.skipped_count,
        environment=environment(images.generator.device),
        command=command,
        unmeasured=tuple(unmeasured.items()),
    )


class _Run:
    """The sums of one evaluation."""

    def __init__(
        self, images: ImageGenerator, distances: FeatureDistances, scored: bool, seed: int, options: dict[str, Any]
    ) -> None:
        self.images, self.distances, self.seed, self.options = images, distances, seed, options
        self.logits = class_logits(distances.network) if scored else None
        network = distances.network
        self.score = InceptionScore(network=network.name, fingerprint=network.fingerprint)
        self.count = 0
        self.shown: list[np.ndarray] = []
        condition: Condition = 0 if images.generator.classes else None
        self.side = int(images.draw(condition, [seed], **options).shape[-1])

    def add(self, records: Sequence[ImageRecord], labels: Sequence[int | None]) -> None:
        """Add references, and a sample for each."""
        device = self.images.generator.device
        self.distances.add_reference(torch.cat([from_uint8(record.image) for record in records]).to(device))
        seeds = [self.seed + self.count + i for i in range(len(records))]
        condition = [label for label in labels if label is not None] or None
        drawn = self.images.draw(condition, seeds, **self.options)
        if self.distances.rounding == "uint8":
            drawn = from_uint8(to_uint8(drawn))
        self.distances.add_output(drawn.to(device))
        if self.logits:
            self.score.update(self.logits(drawn.to(device)))
        if self.count < SHOWN:
            self.shown.append(to_uint8(drawn))
        self.count += len(records)

    def figures(self, wanted: set[str]) -> tuple[list[Measurement], dict[str, str]]:
        """The figures, and those that could not be had, with the reason."""
        found: list[Measurement] = []
        missing: dict[str, str] = {}
        if self.distances.manifold and self.count <= self.distances.manifold.neighbours:
            missing["precision and recall"] = f"they need {self.distances.manifold.neighbours + 1} or more images"
            self.distances.manifold = None
        try:
            found += self.distances.compute() if wanted & set(SET_NAMES) else ()
        except ZelligeError as error:
            missing[self.distances.protocol.title] = str(error)
        if self.logits:
            network = self.distances.network
            own = {} if network.distance == "FID" else {"metric": f"IS-{network.name}"}  # never comparable with an IS
            found += [measurement.on(**own) for measurement in self.score.compute()]
        elif "is" in wanted:
            missing["Inception Score"] = f"{self.distances.network.name} is no classifier"
        return found, missing


def _labels(images: ImageGenerator, source: ImageSource) -> tuple[Callable[[ImageRecord, int], int | None], str]:
    """The class of the sample beside a reference, by it and its number; and what protocols say of that."""
    classes, names = images.generator.classes, images.generator.config.class_names
    if not classes:
        return lambda record, number: None, ""
    numbers = {name: label for label, name in enumerate(names)}
    if names and source.classes:
        known = {label: numbers.get(name) for label, name in enumerate(source.classes)}
    else:  # numbers mean the same where there are as many classes, or where nobody says
        known = {label: label for label in range(classes)} if len(source.classes) in (0, classes) else {}

    def label_of(record: ImageRecord, number: int) -> int:
        label = None if record.label is None else known.get(record.label)
        return number % classes if label is None else label

    return label_of, "classes of the references, in turn where they have none"


def _described(measurement: Measurement, source: str, resize: str, drawn: str) -> Measurement:
    """With what it was measured on; distances of generated sets are called gFID, gFD-…"""
    protocol = measurement.protocol
    metric = f"g{protocol.metric}" if protocol.metric.startswith(("F", "sF", "K")) else protocol.metric
    conditions = "; ".join(part for part in (protocol.conditions, drawn) if part)
    return replace(measurement, protocol=replace(protocol, metric=metric)).on(
        reference=source, resize=resize, conditions=conditions
    )
