"""Pictures of a study as files: panels of curves or marks in one SVG, and a grid of images as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zellige.core.files import replacing
from zellige.evaluate.markup import Markup, h
from zellige.evaluate.svg import Axis, Series, plot

_WIDTH, _HEIGHT, _HEAD = 520, 350, 30
_STYLE = Markup(
    "text{font:13.5px sans-serif}.title{font-weight:600;fill:#1c2430}.grid{stroke:#e4ded2}.axis{stroke:#5d6673}"
    ".tick,.label{fill:#5d6673;font-size:13px}"
    ".name{font-weight:600;fill:currentColor;paint-order:stroke;stroke:#fff;stroke-width:4px}"
    ".curve,.dashed{fill:none;stroke:currentColor;stroke-width:2.2;stroke-linejoin:round}.dashed{stroke-dasharray:2 6}"
    ".point{fill:#fff;stroke:currentColor;stroke-width:2}.mark{fill:currentColor}"
    ".c0{color:#1f4f9e}.c1{color:#b3502b}.c2{color:#16807d}.c3{color:#a97510}.c4{color:#7a4a8c}.c5{color:#5d6673}"
)
_PAPER, _INK = "#ffffff", "#1c2430"


class Panel(NamedTuple):
    """One plot of a sheet, with axes of its own."""

    title: str
    series: Sequence[Series]
    x: Axis
    y: Axis


def panels(path: Path, rows: Sequence[Sequence[tuple[str, Sequence[Series]]]], x: Axis, y: str) -> None:
    """Write plots in rows, each with a title; those of a row share the vertical axis `y`, which starts at 0."""
    sheet: list[list[Panel]] = []
    for row in rows:
        highest = max(value for _, series in row for s in series for _, value in s.points)
        axis = Axis(y, 0.0, 1.1 * highest)
        sheet.append([Panel(title, series, x, axis) for title, series in row])
    write_sheet(path, sheet)


def around(label: str, values: Sequence[float]) -> Axis:
    """An axis that shows `values` with a margin of an eighth of their span on both sides."""
    low, high = min(values), max(values)
    margin = (high - low) / 8 or 1.0
    return Axis(label, low - margin, high + margin)


def write_sheet(path: Path, rows: Sequence[Sequence[Panel]]) -> None:
    """Write plots in rows as one SVG."""
    parts: list[Markup] = []
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            left, top = j * _WIDTH, i * (_HEIGHT + _HEAD)
            parts.append(h("text", panel.title, x=left + 54, y=top + 20, class_="title"))
            inner = plot(panel.series, panel.x, panel.y, title=panel.title)
            parts.append(h("svg", inner, x=left, y=top + _HEAD, width=_WIDTH, height=_HEIGHT))
    width, height = _WIDTH * max(map(len, rows)), len(rows) * (_HEIGHT + _HEAD)
    paper = h("rect", width="100%", height="100%", fill="#fff")
    frame = h(
        "svg", h("style", _STYLE), paper, parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(frame + "\n", "utf-8")


def picture_grid(
    path: Path, rows: Sequence[tuple[str, Sequence[np.ndarray | None]]], head: Sequence[str], *, side: int = 104
) -> None:
    """Write a JPEG of labelled rows of images, uint8 (S, S, 3), under the words of `head`; None leaves a place empty.

    A row whose first place is empty belongs to the one above it; before all others stands a gap.
    """
    gap, left, top, between = 4, 64, 46, 12
    font = ImageFont.load_default(14)
    gaps = sum(images[0] is not None for _, images in rows[1:])
    size = (left + len(head) * (side + gap), top + len(rows) * (side + gap) + gaps * between)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, words in enumerate(head):
        place = (left + column * (side + gap) + side / 2, 22)
        draw.multiline_text(place, words, _INK, font, anchor="mm", align="center")
    down = top
    for number, (label, images) in enumerate(rows):
        down += between if number and images[0] is not None else 0
        draw.text((8, down + side / 2), label, _INK, font, anchor="lm")
        for column, image in enumerate(images):
            if image is not None:
                shown = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
                sheet.paste(shown, (left + column * (side + gap), down))
        down += side + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        sheet.save(temporary, "JPEG", quality=88, optimize=True)
