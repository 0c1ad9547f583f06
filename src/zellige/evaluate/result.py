"""What an evaluation found: `EvalResult`, and its JSON file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zellige.core.files import replacing
from zellige.metrics import Measurement
from zellige.metrics.perturbed import PerturbationGrid


@dataclass(frozen=True)
class TokenizerFacts:
    """The tokenizer that was evaluated.

    Attributes:
        fingerprint: 16 hex digits of its weights.
        stride: pixels a token spans on each side.
    """

    name: str
    licence: str
    fingerprint: str
    parameters: int
    codebook: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class ImageResult:
    """The figures of one image: name of the metric → value, in the metric's unit."""

    key: str
    width: int
    height: int
    tokens: int
    values: dict[str, float]


@dataclass(frozen=True)
class Example:
    """A triple to look at: uint8 (H, W, 3) arrays of at most display size, and the image's figures."""

    result: ImageResult
    original: np.ndarray
    reconstruction: np.ndarray
    difference: np.ndarray


@dataclass(frozen=True)
class CodeProfile:
    """How often codes occur, most frequent first, at a few hundred ranks that are even on a log axis.

    Attributes:
        label: ``codebook`` or ``group 1 of 2``.
        size: K, codes of the codebook; `used` of them occur among `total` tokens.
        ranks: 1-based; `counts` are the occurrences at these ranks.
    """

    label: str
    size: int
    used: int
    total: int
    ranks: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class RatePoint:
    """Rate and quality of one setting, means over the same images as every other point.

    Attributes:
        setting: ``quality 30``, ``fixed length``, ``.zel file``.
    """

    setting: str
    rate: Measurement
    quality: dict[str, Measurement]


@dataclass(frozen=True)
class RateCurve:
    """The points of one codec, lowest rate first.

    Attributes:
        settings: encoder and options, in words.
    """

    codec: str
    settings: str
    points: tuple[RatePoint, ...]


@dataclass(frozen=True)
class AtBytes:
    """A coder with every image in as many bytes as the tokenizer's file, or in the next larger file it can make.

    Attributes:
        coder: name of the codec, or of the tokenizer.
        larger: images of which even the codec's smallest file is larger; that one is taken.
        smaller: images of which even its largest file is smaller; that one is taken.
    """

    coder: str
    point: RatePoint
    larger: int = 0
    smaller: int = 0


@dataclass(frozen=True)
class RateDistortion:
    """Curves over few images, and a comparison at equal bytes over more.

    Attributes:
        tokenizer: its points, one a way of counting its bits, over the same images as the codecs' curves.
        at_bytes: the tokenizer first, then each codec.
        images: how many `at_bytes` is over.
    """

    tokenizer: tuple[RatePoint, ...]
    codecs: tuple[RateCurve, ...]
    at_bytes: tuple[AtBytes, ...]
    images: int


@dataclass(frozen=True)
class RobustnessCell:
    """One cell of pFID's grid.

    Attributes:
        changed: share of the ids that the perturbation replaced by others.
        distance: of the images decoded from them.
    """

    alpha: float
    delta: int
    changed: float
    distance: Measurement


@dataclass(frozen=True)
class Robustness:
    """pFID with all that it is the mean of.

    Attributes:
        mean: the figure.
        clean: the same distance without perturbation.
        cells: alpha by alpha.
        grid: strengths, rule, neighbourhood and seed; the cells hold the deltas that the rule gave.
        clean_seconds: what the clean distance took: encoding, decoding, features of originals and reconstructions.
        cells_seconds: what all cells took on top: perturbing, decoding, features.
        warning: what is wrong with the figure; empty if nothing is.
    """

    mean: Measurement
    clean: Measurement
    cells: tuple[RobustnessCell, ...]
    grid: PerturbationGrid
    clean_seconds: float
    cells_seconds: float
    warning: str = ""

    def on(self, **protocol: Any) -> Robustness:
        """The same with more of every protocol known, as `Measurement.on`."""
        cells = tuple(replace(cell, distance=cell.distance.on(**protocol)) for cell in self.cells)
        return replace(self, mean=self.mean.on(**protocol), clean=self.clean.on(**protocol), cells=cells)


@dataclass(frozen=True)
class EvalResult:
    """Everything that one evaluation found.

    Attributes:
        source: name of the set of images.
        measurements: the figures over the set, each with its protocol.
        images: per image; of a large set those with the lowest PSNR.
        examples: a few images, drawn evenly from the set.
        rates: None if codecs were not asked for, or the tokens are continuous.
        skipped: files that could not be read, and why; `skipped_count` counts those beyond the list too.
        environment: versions, hardware, date.
        command: what was run.
        unmeasured: figures that could not be had, and why: weights that are missing, images too small or too few.
        robustness: None unless pFID was asked for and could be had.
    """

    tokenizer: TokenizerFacts
    source: str
    count: int
    measurements: tuple[Measurement, ...]
    images: tuple[ImageResult, ...]
    examples: tuple[Example, ...]
    codes: tuple[CodeProfile, ...]
    rates: RateDistortion | None
    skipped: tuple[tuple[str, str], ...]
    skipped_count: int
    environment: dict[str, str]
    command: str = ""
    unmeasured: tuple[tuple[str, str], ...] = ()
    robustness: Robustness | None = None

    def __getitem__(self, key: str) -> Measurement:
        """The measurement of a key: ``result["psnr"]``."""
        for measurement in self.measurements:
            if measurement.protocol.key == key:
                return measurement
        raise KeyError(f"no '{key}'; there are {', '.join(m.protocol.key for m in self.measurements)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready: everything but the pictures."""
        return {name: plain(value) for name, value in vars(self).items() if name != "examples"}


def plain(value: Any) -> Any:
    """Dataclasses, tuples and measurements as dicts, lists and numbers; ∞ and NaN as text, as JSON has neither."""
    if isinstance(value, Measurement):
        return plain(value.as_dict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return plain(vars(value))
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class Result(Protocol):
    """What an evaluation found."""

    def as_dict(self) -> dict[str, Any]: ...


def write_json(result: Result, path: str | Path) -> None:
    """Write the figures, protocols and environment; the file appears whole or not at all."""
    text = json.dumps(result.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(Path(path)) as temporary:
        temporary.write_text(text + "\n", "utf-8")
