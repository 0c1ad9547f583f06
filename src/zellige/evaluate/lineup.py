"""Tokenizers side by side: their figures over the same images, measured alike, in one table.

tokenizer ─┐
tokenizer ─┼─ evaluate, the same images ─ one `EvalResult` each ─ line_up ─ one table, JSON, page
tokenizer ─┘
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.files import replacing
from zellige.evaluate.figures import show
from zellige.evaluate.pfid import check_perturbable
from zellige.evaluate.result import EvalResult, plain
from zellige.metrics import Measurement, column
from zellige.metrics.perturbed import PerturbationGrid

_HIGHER = ("PSNR", "SSIM", "MS-SSIM", "precision", "recall", "density", "coverage", "encode speed", "decode speed")
_LOWER = ("LPIPS", "F", "pF", "K")  # Fréchet and kernel distances begin so, whatever their network
_OF_CODES = ("codebook usage", "code entropy", "code perplexity")
_ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
_RATE = "bits per pixel"


@dataclass(frozen=True)
class Row:
    """One figure of all tokenizers.

    Attributes:
        title: what it is.
        unit: of the values.
        values: one a tokenizer; None where it has none.
        better: ``higher``, ``lower``, or empty where neither is.
        how: its protocol, in one line.
    """

    title: str
    unit: str
    values: tuple[float | None, ...]
    better: str = ""
    how: str = ""

    @property
    def best(self) -> tuple[bool, ...]:
        """Which tokenizers have the best value; none where there is nothing to win."""
        known = [value for value in self.values if value is not None]
        if not self.better or len(known) < 2:
            return (False,) * len(self.values)
        top = max(known) if self.better == "higher" else min(known)
        return tuple(value == top for value in self.values)


@dataclass(frozen=True)
class Lineup:
    """Evaluations of several tokenizers over the same images.

    Attributes:
        labels: what each tokenizer is called here.
        results: one each.
        rows: quality, robustness, rate, codes, speed, size, in this order.
    """

    labels: tuple[str, ...]
    results: tuple[EvalResult, ...]
    rows: tuple[Row, ...]
    command: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready: the table, then all that each evaluation found."""
        table = [{**plain(row), "best": list(row.best)} for row in self.rows]
        return {
            "command": self.command,
            "tokenizers": list(self.labels),
            "table": table,
            "results": [result.as_dict() for result in self.results],
        }


def check_lineup(tokenizers: Sequence[Tokenizer], labels: Sequence[str], grid: PerturbationGrid | None) -> int | None:
    """The side that images are cropped to so that all tokenizers take them; None if all take any size.

    Raises `UsageError`, which says why, if they cannot be compared: fewer than two, two with the same weights, two
    that take images of one size each and not the same, or one that pFID of `grid` cannot be had of.
    """
    if len(tokenizers) < 2:
        raise UsageError("a comparison needs two or more tokenizers")
    seen: dict[str, str] = {}
    sides: dict[int, str] = {}
    for tokenizer, label in zip(tokenizers, labels, strict=True):
        weights = tokenizer.fingerprint()
        if weights in seen:
            raise UsageError(f"'{seen[weights]}' and '{label}' cannot be compared: they are the same weights")
        seen[weights] = label
        if tokenizer.image_size is not None:
            sides.setdefault(tokenizer.image_size, label)
    if len(sides) > 1:
        (one, first), (other, second) = list(sides.items())[:2]
        raise UsageError(
            f"'{first}' and '{second}' cannot be compared: they take {one}×{one} and {other}×{other} images, "
            "so they would not see the same pixels"
        )
    for tokenizer, label in zip(tokenizers, labels, strict=True):
        try:
            if grid:
                check_perturbable(tokenizer, grid, stored=False)
        except UsageError as error:
            raise UsageError(f"'{label}' cannot be compared by pFID: {error}") from None
    return next(iter(sides), None)


def line_up(labels: Sequence[str], results: Sequence[EvalResult], command: str = "") -> Lineup:
    """The figures side by side.

    Raises `ZelligeError` if a figure of quality was measured in unlike ways, naming the difference.
    """
    found = [{m.protocol.key: m for m in result.measurements} for result in results]
    keys = list(dict.fromkeys(key for measurements in found for key in measurements))
    groups: dict[str, list[Row]] = {"quality": [], "rate": [], "speed": []}
    for key in keys:
        measured = [measurements.get(key) for measurements in found]
        metric = next(m for m in measured if m).protocol.metric
        if metric not in _OF_CODES:
            groups["rate" if metric == _RATE else "speed" if "speed" in metric else "quality"].append(_row(measured))
    return Lineup(
        tuple(labels),
        tuple(results),
        (*groups["quality"], *groups["rate"], _codes_in_use(results), *groups["speed"], _parameters(results)),
        command,
    )


def show_value(row: Row, value: float | None) -> str:
    """A value of a row as people read it."""
    return "–" if value is None else show(value, row.unit)


def arrow(row: Row) -> str:
    """The title with the direction that is better."""
    return row.title + _ARROWS[row.better]


def write_lineup(found: Lineup, path: str | Path) -> None:
    """Write all figures as JSON; the file appears whole or not at all."""
    text = json.dumps(found.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(Path(path)) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def _row(measured: Sequence[Measurement | None]) -> Row:
    present = [m for m in measured if m]
    column(present)
    protocol = present[0].protocol
    values = tuple(None if m is None else m.value for m in measured)
    return Row(protocol.title, protocol.unit, values, _better(protocol.metric), protocol.describe())


def _better(metric: str) -> str:
    if metric.split(" of ")[0] in _HIGHER:
        return "higher"
    return "lower" if metric.startswith(_LOWER) else ""


def _codes_in_use(results: Sequence[EvalResult]) -> Row:
    shares = [
        sum(code.used for code in result.codes) / sum(code.size for code in result.codes) if result.codes else None
        for result in results
    ]
    return Row(
        "codes in use", "share", tuple(shares), how="codes seen over the whole set / codes, of all sub-codebooks"
    )


def _parameters(results: Sequence[EvalResult]) -> Row:
    return Row("parameters", "million", tuple(result.tokenizer.parameters / 1e6 for result in results))
