"""Tables and pictures of the record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from studies.charts import panels, picture_grid
from studies.common import Interval, Record, interval, table
from studies.measure import decode_perturbed, load_model
from studies.robusttok.pairs import Judge
from studies.robusttok.settings import ARMS, CLEAN_RISES, PERTURBED_FALLS, Setting
from zellige.core.pixels import from_uint8, to_uint8
from zellige.evaluate.svg import Axis, Series
from zellige.metrics.perturbed import STATED_FOR

SHOWN = ((0.5, 200), (0.7, 280), (0.9, 360), (1.0, 360))
"""Strengths of the picture, delta for 4,096 codes."""


def table_of(sets: Record) -> str:
    """The table that the docs show."""
    rows = []
    for record in sets.values():
        found = {key: Interval(**_numbers(value)) for key, value in record["summary"].items()}
        for key, words, aim in (
            ("clean", "clean distance", f"at most +{100 * CLEAN_RISES:.0f} %"),
            ("perturbed", "perturbed distance", f"at most −{100 * PERTURBED_FALLS:.0f} %"),
        ):
            change = found[f"{key}, change"]
            limit = CLEAN_RISES if key == "clean" else -PERTURBED_FALLS
            percent = Interval(100 * change.mean, 100 * change.half, change.count).show("+.1f", " %").replace("-", "−")
            met = "met" if change.mean <= limit else "not met"
            arms = [_distance(found[f"{key}, {arm}"]) for arm in ARMS]
            rows.append((f"{record['title']}: {words}", *arms, percent, f"{aim}: {met}"))
        decibels = [found[f"psnr, {arm}"].show(".2f", " dB") for arm in ARMS]
        difference = found["psnr, change"].show("+.2f", " dB").replace("-", "−")
        rows.append((f"{record['title']}: PSNR", *decibels, difference, ""))
    return table(("", "plain", "robust", "change", "asked for"), rows)


def rates_of(sets: Record) -> str:
    """A table of how many tokens each strength changed, beside what it should change."""
    rows = []
    for record in sets.values():
        for same in zip(*(found["cells"] for found in record["runs"]), strict=True):
            first, changed = same[0], interval([cell["changed"] for cell in same])
            cell = f"{record['title']}: α {first['alpha']:g}, δ {first['delta']}"
            rows.append((cell, f"{changed.mean:.4f}", f"{first['expected']:.4f}"))
    return table(("", "tokens changed", "α·(1 − 1/δ)"), rows)


def draw_map(path: Path, sets: Record) -> None:
    """The distance over alpha, a curve for each delta: plain on the left, robust on the right."""
    rows = []
    for record in sets.values():
        row = []
        for arm in ARMS:
            runs = [found for found in record["runs"] if found["arm"] == arm]
            clean = interval([found["clean"] for found in runs]).mean
            series = []
            for number, delta in enumerate(dict.fromkeys(cell["delta"] for cell in runs[0]["cells"])):
                cells = [[cell for cell in found["cells"] if cell["delta"] == delta] for found in runs]
                points = [(0.0, clean)]
                for same in zip(*cells, strict=True):
                    points.append((same[0]["alpha"], interval([cell["distance"] for cell in same]).mean))
                notes = [f"α {alpha:g}, δ {delta}: {value:.4g}" for alpha, value in points]
                series.append(Series(f"δ = {delta}", f"c{number}", points, notes))
            row.append((f"{record['title']}, {arm}", series))
        rows.append(row)
    panels(path, rows, Axis("share of the tokens that is perturbed, α", 0.0, 1.0), "FD-efficientnet_lite0")


def draw_pictures(path: Path, shown: Iterable[tuple[Setting, Sequence[Record], Judge]], images: int = 3) -> None:
    """Images decoded from perturbed codes, plain above robust, the same draws for both."""
    rows: list[tuple[str, list[np.ndarray | None]]] = []
    for setting, runs, judge in shown:
        models = {found["arm"]: load_model(found["folder"]) for found in runs if found["seed"] == 0}
        for number in np.linspace(0, len(judge.images) - 1, images + 2).round().astype(int)[1:-1]:
            x = from_uint8(judge.images[number])
            for arm, model in models.items():
                decoded = [model.decode(model.encode(x))]
                for alpha, delta in SHOWN:
                    scaled = max(2, round(delta * setting.codes / STATED_FOR))
                    decoded.append(decode_perturbed(model, x, alpha=alpha, delta=scaled))
                first = judge.images[number] if arm == "plain" else None
                rows.append((arm, [first, *(to_uint8(output)[0] for output in decoded)]))
    strengths = (
        f"alpha {alpha:g}\ndelta K/{STATED_FOR / delta:.0f}" for alpha, delta in SHOWN
    )  # the font has no Greek
    head = ["original", "clean", *strengths]
    picture_grid(path, rows, head, side=128)


def _distance(found: Interval) -> str:
    return found.show(".0f" if found.mean >= 100 else ".1f" if found.mean >= 10 else ".2f")


def _numbers(value: Record) -> Record:
    """Fields of an `Interval` from a record, where null stands for what is no number."""
    return {key: math.nan if item is None else item for key, item in value.items()}
