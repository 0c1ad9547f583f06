"""The band of tiles on top of a report: stars and crosses, coloured by the weights' fingerprint.

The same weights always give the same band, and other weights another one.
"""

from __future__ import annotations

import math
import random

from zellige.evaluate.markup import Markup, h

_SIDE = 48
_COLUMNS, _ROWS = 64, 3  # wide enough for a screen of 2,400 pixels; narrower ones show the middle


def band(fingerprint: str) -> Markup:
    """An inline SVG of eight-pointed stars, with crosses where they leave room."""
    draw = random.Random(fingerprint)
    favourites = draw.choices(range(4), weights=(4, 3, 2, 1), k=6)
    stars = []
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            # A repeat of three by two, as a tiler would lay it, with a stray tile now and then.
            outer = favourites[(column + 2 * row) % 3 + 3 * (row % 2)] if draw.random() > 0.12 else draw.randrange(4)
            inner = (outer + 1 + (column + row) % 2 * 2) % 4
            place = f"translate({(column + 0.5) * _SIDE:g} {(row + 0.5) * _SIDE:g})"
            stars.append(
                h(
                    "g",
                    h("use", href="#star", class_=f"t{outer}"),
                    h("use", href="#star", transform="scale(.62)", class_="ring"),
                    h("use", href="#star", transform="scale(.42)", class_=f"t{inner}"),
                    transform=place,
                )
            )
    shapes = h(
        "defs",
        h("polygon", id="star", points=_star(_SIDE / 2 - 0.8)),
    )
    box = f"0 0 {_COLUMNS * _SIDE} {_ROWS * _SIDE}"
    return h("svg", shapes, stars, viewBox=box, preserveAspectRatio="xMidYMid slice", class_="band", aria_hidden="true")


def _star(radius: float) -> str:
    """Two squares turned by 45°, as one polygon of 16 corners."""
    inner = radius * math.cos(math.pi / 4) / math.cos(math.pi / 8)
    corners = [((radius, inner)[i % 2], math.pi / 8 * i) for i in range(16)]
    return " ".join(f"{r * math.cos(a):.2f},{r * math.sin(a):.2f}" for r, a in corners)
