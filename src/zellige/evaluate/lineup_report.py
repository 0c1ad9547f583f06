"""The page of several tokenizers: one table, rate against quality, robustness beside the clean distance, pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zellige.core.files import replacing
from zellige.evaluate import robustness
from zellige.evaluate.figures import show
from zellige.evaluate.lineup import Lineup, Row, arrow, show_value
from zellige.evaluate.markup import Markup, h
from zellige.evaluate.page import page, provenance, table
from zellige.evaluate.pictures import data_uri
from zellige.evaluate.svg import Axis, Series, plot

CROP = 256
"""Pixels a side of the pictures: the centre of each image, as it is."""
_RATE, _PSNR = "bits per pixel", "PSNR"
_FOOTER = "The tiles on top are laid by the fingerprints of all weights together."


def write_lineup_report(found: Lineup, path: str | Path) -> None:
    """Write the page; it appears whole or not at all. Raises `ZelligeError` if it cannot be written."""
    text = lineup_html(found)
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, "utf-8")


def lineup_html(found: Lineup) -> str:
    """The page as text. Everything that comes from files or names is escaped."""
    first = found.results[0]
    images = f"{first.count:,} image{'s' * (first.count != 1)}"
    title = f"{len(found.labels)} tokenizers on {first.source}"
    main = (
        h("h1", f"{len(found.labels)} tokenizers side by side"),
        h("p", f"The same {images} from ", h("code", first.source), ", measured alike", class_="lead"),
        _figures(found),
        _plots(found),
        _pictures(found),
        _robustness(found),
        _tokenizers(found),
        provenance(first.environment, found.command, _FOOTER),
    )
    return page(title, " ".join(result.tokenizer.fingerprint for result in found.results), main)


def _figures(found: Lineup) -> Markup:
    rows = []
    for row in found.rows:
        cells = [
            h("td", h("strong", text) if best else text, class_="number")
            for text, best in zip((show_value(row, v) for v in row.values), row.best, strict=True)
        ]
        rows.append(h("tr", h("th", arrow(row), scope="row"), cells, title=row.how))
    missing = dict(reason for result in found.results for reason in result.unmeasured)
    warnings = dict.fromkeys(r.robustness.warning for r in found.results if r.robustness and r.robustness.warning)
    return h(
        "section",
        h("h2", "Figures"),
        h("p", "The best of a row is bold. Resting on a row shows how it was measured.", class_="note"),
        table(("", *((label, "number") for label in found.labels)), rows, "lineup-figures"),
        [h("p", f"Not measured: {name}, as {why}.", class_="note") for name, why in missing.items()],
        [h("p", f"{warning}.", class_="note") for warning in warnings],
    )


def _plots(found: Lineup) -> Markup | None:
    rate = next((row for row in found.rows if row.title.startswith(_RATE)), None)
    quality = next(row for row in found.rows if row.title == _PSNR)
    distance = next((row for row in found.rows if row.better == "lower" and row.title.startswith("F")), None)
    perturbed = next((row for row in found.rows if row.title.startswith("pF")), None)
    pairs = [(rate, quality), (rate, distance), (distance, perturbed)]
    plots = [h("figure", each) for x, y in pairs if x and y and (each := _scatter(found.labels, x, y))]
    if not plots:
        return None
    return h("section", h("h2", "Against each other"), h("div", plots, class_="plots"))


def _scatter(labels: tuple[str, ...], x: Row, y: Row) -> Markup | None:
    """A mark a tokenizer that has both figures; None if there is none."""
    marks = []
    for i, (label, a, b) in enumerate(zip(labels, x.values, y.values, strict=True)):
        if a is not None and b is not None and np.isfinite((a, b)).all():
            note = f"{label}: {x.title} {show_value(x, a)}, {y.title} {show_value(y, b)}"
            marks.append(Series(_short(label), f"c{i % 6}", [(a, b)], [note]))
    if not marks:
        return None
    axes = [_axis(row, [mark.points[0][i] for mark in marks]) for i, row in enumerate((x, y))]
    return plot(marks, axes[0], axes[1], title=f"{y.title} over {x.title}")


def _axis(row: Row, values: list[float]) -> Axis:
    low, high = min(values), max(values)
    room = 0.25 * (high - low) or 0.1 * abs(high) or 1.0
    label = f"{row.title}, {row.unit}" if row.unit else row.title
    return Axis(label, low - room, high + room)


def _pictures(found: Lineup) -> Markup:
    examples = [{e.result.key: e for e in result.examples} for result in found.results]
    figures = []
    for key, first in examples[0].items():
        shown = [("original", _crop(first.original), "")]
        for label, each in zip(found.labels, examples, strict=True):
            shown.append((label, _crop(each[key].reconstruction), show(each[key].result.values["psnr"], "dB")))
        cells = [
            h("div", _picture(picture, f"{key}, {name}"), h("p", h("strong", name), " ", said, class_="note"))
            for name, picture, said in shown
        ]
        figures.append(h("figure", h("div", cells, class_="lineup"), h("figcaption", h("span", key))))
    note = f"The middle of each picture, at most {CROP} pixels a side, the same for all tokenizers."
    return h("section", h("h2", "What is kept"), h("p", note, class_="note"), h("div", figures, class_="gallery"))


def _picture(picture: np.ndarray, alt: str) -> Markup:
    height, width = picture.shape[:2]
    small = "small" if width * height <= 128 * 128 else None
    return h("img", src=data_uri(picture), alt=alt, width=width, height=height, class_=small)


def _crop(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    top, left = max(0, height - CROP) // 2, max(0, width - CROP) // 2
    return np.ascontiguousarray(picture[top : top + CROP, left : left + CROP])


def _robustness(found: Lineup) -> Markup | None:
    grids = [(label, r.robustness) for label, r in zip(found.labels, found.results, strict=True) if r.robustness]
    if not grids:
        return None
    figures = [
        h(
            "figure",
            h("h3", label),
            h("div", robustness.heat_table(grid), class_="scroll"),
            h("figcaption", f"{robustness.title(grid)}. {robustness.cost(grid)}."),
        )
        for label, grid in grids
    ]
    note = f"Rows are α, columns δ; {grids[0][1].grid.draws}. Each grid is tinted by itself."
    return h("section", h("h2", "Robustness"), h("p", note, class_="note"), h("div", figures, class_="plots"))


def _tokenizers(found: Lineup) -> Markup:
    rows = []
    for label, result in zip(found.labels, found.results, strict=True):
        t = result.tokenizer
        cells = (
            t.name,
            " × ".join(f"{k:,}" for k in t.codebook) or "continuous",
            t.licence or "not stated",
            h("code", t.fingerprint),
        )
        rows.append(h("tr", h("th", label, scope="row"), [h("td", cell) for cell in cells]))
    names = ("", "System", "Codebook", "Licence of the weights", "Fingerprint")
    return h("section", h("h2", "Tokenizers"), table(names, rows, "tokenizers"))


def _short(label: str) -> str:
    """The end of a label, which tells folders apart."""
    return label if len(label) <= 24 else "…" + label[-23:]
