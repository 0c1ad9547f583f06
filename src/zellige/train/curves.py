"""`curves.svg`: every value of the log over the steps, a small plot each."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from zellige.core.files import replacing

COLUMNS, WIDTH, HEIGHT = 3, 260, 150
TOP, BOTTOM, SIDE = 24, 20, 10
POINTS = 400
"""Points of a curve at most: more than there are pixels."""

Curve = list[tuple[float, float]]


def write_curves(log: Path, path: Path) -> None:
    """Draw a `log.jsonl` as one SVG; values that are no number are left out."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    keys = dict.fromkeys(key for line in lines for key in line if key != "step")  # an adversary may enter late
    panels = [(key, curve) for key in keys if (curve := _curve(lines, key))]
    parts = [
        f'<g transform="translate({i % COLUMNS * WIDTH} {i // COLUMNS * HEIGHT})">{_panel(key, curve)}</g>'
        for i, (key, curve) in enumerate(panels)
    ]
    size = f"{COLUMNS * WIDTH} {-(-len(panels) // COLUMNS) * HEIGHT}"
    style = "text{font:11px sans-serif;fill:#555}.key{font-weight:bold;fill:#222}polyline{fill:none;stroke:#1668b8}"
    with replacing(path) as temporary:
        temporary.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}"><style>{style}</style>'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n',
            "utf-8",
        )


def _curve(lines: Sequence[dict[str, float]], key: str) -> Curve:
    points = [(line["step"], line[key]) for line in lines if math.isfinite(line.get(key, math.nan))]
    every = -(-len(points) // POINTS) or 1
    return points[::every] + ([points[-1]] if (len(points) - 1) % every else [])


def _panel(key: str, curve: Curve) -> str:
    """A curve between its lowest and its highest value, which are written at the right, as is its last step."""
    values = [value for _, value in curve]
    low, high, first, last = min(values), max(values), curve[0][0], curve[-1][0]

    def at(step: float, value: float) -> str:
        x = SIDE + (step - first) / ((last - first) or 1) * (WIDTH - 2 * SIDE)
        y = HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    points = " ".join(at(*point) for point in curve)
    right = f'x="{WIDTH - SIDE}" text-anchor="end"'
    return (
        f'<text x="{SIDE}" y="16" class="key">{escape(key)}</text><text {right} y="16">{low:.3g} to {high:.3g}</text>'
        f'<polyline points="{points}"/><text {right} y="{HEIGHT - 5}">step {last:,.0f}: {values[-1]:.4g}</text>'
    )
