"""The plots of a report: rate against quality, and how often codes occur."""

from __future__ import annotations

import math

from zellige.evaluate.figures import show
from zellige.evaluate.markup import Markup
from zellige.evaluate.result import CodeProfile, RateDistortion, RatePoint
from zellige.evaluate.svg import Axis, Series, plot

QUALITY = {"psnr": ("PSNR, dB", "dB", 2.0), "ms_ssim": ("MS-SSIM", "", 0.05)}
"""Key of a measurement → label of its axis, unit, margin."""
_HIGHEST_RATE = 4.0  # bits a pixel


def rate_plot(study: RateDistortion, key: str) -> Markup | None:
    """Quality `key`, of `QUALITY`, over bits a pixel: codecs as curves, the tokenizer as a star.

    Rates far above the tokenizer's and lossless points are left out; None if nothing is left.
    """
    label, unit, margin = QUALITY[key]

    def place(point: RatePoint) -> tuple[float, float]:
        return point.rate.value, point.quality[key].value

    def note(name: str, point: RatePoint) -> str:
        rate, quality = place(point)
        return f"{name}, {point.setting}: {show(rate, 'bpp')}, {show(quality, unit) if unit else f'{quality:.3f}'}"

    own = study.tokenizer[-1]  # in file bytes, as the codecs are
    highest = max(_HIGHEST_RATE, 2 * own.rate.value)
    groups = [(curve.codec, curve.points) for curve in study.codecs] + [("tokenizer", (own,))]
    series = []
    for i, (name, points) in enumerate(groups, 1):
        shown = [p for p in points if p.rate.value <= highest and math.isfinite(p.quality[key].value)]
        if shown:
            colour = "c0" if name == "tokenizer" else f"c{i}"
            series.append(Series(name, colour, [place(p) for p in shown], [note(name, p) for p in shown]))
    if not series:
        return None
    rates = [rate for s in series for rate, _ in s.points]
    values = [value for s in series for _, value in s.points]
    x = Axis("bits per pixel", min(rates) / 1.25, max(rates) * 1.1, log=True)
    y = Axis(label, min(values) - margin / 2, max(values) + margin)
    return plot(series, x, y, title=f"{label} over bits per pixel")


def code_plot(profile: CodeProfile) -> Markup:
    """Occurrences of the codes, most frequent first, on two log axes, with the even share as a dashed line."""
    even = profile.total / profile.size
    points = [(float(r), float(c)) for r, c in zip(profile.ranks, profile.counts, strict=True)]
    x = Axis("rank of the code", 1, max(2, profile.size), log=True)
    y = Axis("occurrences", min(0.7, even / 1.5), max(2.0, profile.counts[0] * 1.3), log=True)
    series = [
        Series("even use", "c5", [(1.0, even), (float(max(2, profile.size)), even)], dashed=True),
        Series("", "c0", points, area=True),
    ]
    return plot(series, x, y, title=f"{profile.label}: occurrences of each code, sorted")


def code_caption(profile: CodeProfile) -> str:
    """What the plot shows, in numbers."""
    name = profile.label.capitalize()
    return f"{name}: {profile.used:,} of {profile.size:,} codes occur among {profile.total:,} tokens."
