"""Line plots as inline SVG: axes, ticks, curves labelled where they are. Colours come from the page's CSS."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from zellige.evaluate.markup import Markup, h

_WIDTH, _HEIGHT = 520, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 34, 48
_LETTER = 8.8  # width of a letter of a label, roughly
# Where a label may stand, best first: offset from the end of its curve, and the share of its width left of that.
_PLACES: dict[bool, list[tuple[float, float, float]]] = {
    True: [(-8, -6, 1), (6, 16, 1), (0, -11, 0.5), (6, 22, 0.5), (-12, 4, 1), (-8, -22, 1), (8, 32, 1)],
    False: [(13, 4.5, 0), (-13, 4.5, 1), (0, -14, 0.5), (0, 24, 0.5)],  # beside a mark
}

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One axis: its label, its range, and whether it is logarithmic."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where `value` lies, 0 at the low end and 1 at the high one; values beyond are put at the end."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        return min(1.0, max(0.0, (at - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Round values inside the range: 3 to 10 of them."""
        if not self.log:
            step = _round_step((self.high - self.low) / 6)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [i * step for i in range(first, last + 1)]
        decades = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if self.high / self.low < 300 else (1,)
        found = [m * 10.0**d for d in decades for m in steps]
        return [v for v in found if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


@dataclass(frozen=True)
class Series:
    """A curve or, with one point, a mark.

    Attributes:
        label: written at its end, in its colour.
        colour: CSS class of the page: ``c0`` to ``c5``.
        points: (x, y), in the order they are joined.
        notes: shown when the pointer rests on a point; one a point, or none at all.
        area: fill down to the axis.
        dashed: for reference lines.
    """

    label: str
    colour: str
    points: Sequence[Point]
    notes: Sequence[str] = ()
    area: bool = False
    dashed: bool = False


def plot(series: Sequence[Series], x: Axis, y: Axis, *, title: str) -> Markup:
    """An SVG that scales with its container; `title` is also what screen readers say."""
    right = _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM

    def at(point: Point) -> Point:
        return _LEFT + x.place(point[0]) * (right - _LEFT), bottom - y.place(point[1]) * (bottom - _TOP)

    grid: list[Markup] = []
    for value in y.ticks():
        _, py = at((x.low, value))
        grid.append(h("line", x1=_LEFT, x2=right, y1=_n(py), y2=_n(py), class_="grid"))
        grid.append(h("text", tick_label(value), x=_LEFT - 8, y=_n(py + 4), class_="tick", text_anchor="end"))
    for value in x.ticks():
        px, _ = at((value, y.low))
        grid.append(h("line", x1=_n(px), x2=_n(px), y1=bottom, y2=bottom + 5, class_="axis"))
        grid.append(h("text", tick_label(value), x=_n(px), y=bottom + 19, class_="tick", text_anchor="middle"))
    grid.append(h("line", x1=_LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
    grid.append(h("text", x.label, x=_n((_LEFT + right) / 2), y=_HEIGHT - 8, class_="label", text_anchor="middle"))
    grid.append(h("text", y.label, x=4, y=16, class_="label"))
    curves = [_curve(s, [at(p) for p in s.points], bottom) for s in series]
    labels = _labels([(s, [at(p) for p in s.points]) for s in series])
    return h(
        "svg", h("title", title), grid, curves, labels, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="plot"
    )


def tick_label(value: float) -> str:
    """A tick in as few characters as tell it: ``0.25``, ``20``, ``5k``, ``10⁻⁶``."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        exponent = math.floor(math.log10(abs(value)) + 1e-9)
        factor = round(value / 10**exponent)
        power = "10" + "".join("⁻" if c == "-" else "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(c)] for c in str(exponent))
        return power if factor == 1 else f"{factor}·{power}"
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{round(value, 10):g}"


def _curve(series: Series, points: list[Point], bottom: float) -> Markup:
    path = " ".join(f"{_n(px)},{_n(py)}" for px, py in points)
    parts: list[Markup] = []
    if series.area:
        closed = f"{_n(points[0][0])},{bottom} {path} {_n(points[-1][0])},{bottom}"
        parts.append(h("polygon", points=closed, class_="area"))
    if len(points) > 1:
        parts.append(h("polyline", points=path, class_="dashed" if series.dashed else "curve"))
    for (px, py), note in zip(points, series.notes, strict=False):
        if len(points) == 1:  # a mark: an eight-pointed star, two squares turned by 45°
            squares = [
                h("rect", x=-6, y=-6, width=12, height=12, transform=f"translate({_n(px)} {_n(py)}) rotate({angle})")
                for angle in (0, 45)
            ]
            parts.append(h("g", h("title", note), squares, class_="mark"))
        else:
            parts.append(h("circle", h("title", note), cx=_n(px), cy=_n(py), r=3.5, class_="point"))
    return h("g", parts, class_=series.colour)


def _labels(series: list[tuple[Series, list[Point]]]) -> list[Markup]:
    """A label at the end of each curve, or beside each mark, where it hides least of the other curves and labels."""
    taken = [point for _, points in series for point in _along(points)]
    labels: list[Markup] = []
    for s, points in series:
        px, py = points[-1]
        width = _LETTER * len(s.label)
        places = [
            (min(max(px + dx - width * share, _LEFT), _WIDTH - width), max(py + dy, 12))
            for dx, dy, share in _PLACES[len(points) > 1]
        ]
        left, baseline = min(places, key=lambda place: _hidden(place, width, taken))
        taken += [(left + step, baseline - up) for step in range(0, int(width), 4) for up in (0, 5, 10)]
        labels.append(h("text", s.label, x=_n(left), y=_n(baseline), class_=f"name {s.colour}"))
    return labels


def _hidden(place: Point, width: float, taken: list[Point]) -> int:
    """How many of the `taken` points a label of this left end and baseline would cover."""
    left, baseline = place
    return sum(left - 4 < x < left + width + 4 and baseline - 14 < y < baseline + 5 for x, y in taken)


def _along(points: list[Point]) -> list[Point]:
    """Points every few pixels along a polyline."""
    found = [points[-1]]
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        steps = max(1, int(math.hypot(bx - ax, by - ay) / 4))
        found += [(ax + (bx - ax) * i / steps, ay + (by - ay) * i / steps) for i in range(steps)]
    return found


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def _n(value: float) -> str:
    return f"{value:.1f}"
