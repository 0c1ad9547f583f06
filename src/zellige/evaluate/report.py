"""`report.html`: an evaluation as one page that needs nothing else, in light and dark, on paper and phones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from zellige.core.files import replacing
from zellige.evaluate import equal_bytes, robustness
from zellige.evaluate.figures import show, show_measurement, show_spread
from zellige.evaluate.markup import Markup, h
from zellige.evaluate.page import facts, page, provenance, table
from zellige.evaluate.pictures import AMPLIFICATION, DISPLAY_SIDE, data_uri
from zellige.evaluate.plots import QUALITY, code_caption, code_plot, rate_plot
from zellige.evaluate.result import EvalResult, Example, ImageResult, RateDistortion
from zellige.metrics import Measurement

_HEADLINES = {  # key of a measurement → what the page calls it
    "psnr": "PSNR",
    "ssim": "SSIM",
    "bits_per_pixel/fixed_length": "Rate",
    "codebook_usage": "Codes in use",
    "encode_speed/mp_s": "Encoding",
    "decode_speed/mp_s": "Decoding",
}
_CODES = ("codebook usage", "code entropy", "code perplexity")
_SKIPPED_LISTED = 100
_HEAT = "A row a share α of perturbed tokens, a column a number δ of codes to choose from; darker is further away."
_FOOTER = "The tiles on top are laid by the fingerprint of the weights: other weights, other tiles."
_PICTURE_HEIGHT = 480
# Moves the line of a comparison; without it the picture is halved in the middle.
_SCRIPT = """
document.querySelectorAll(".compare input").forEach(function (slider) {
  slider.addEventListener("input", function () { slider.parentNode.style.setProperty("--at", slider.value + "%"); });
});
"""


def write_report(result: EvalResult, path: str | Path) -> None:
    """Write the page; it appears whole or not at all. Raises `ZelligeError` if it cannot be written."""
    page = report_html(result)
    with replacing(Path(path)) as temporary:
        temporary.write_text(page, "utf-8")


def report_html(result: EvalResult) -> str:
    """The page as text. Everything that comes from files or names is escaped."""
    name = result.tokenizer.name
    images = f"{result.count:,} image{'s' * (result.count != 1)}"
    main = (
        h("h1", name),
        h("p", f"Reconstruction of {images} from ", h("code", result.source), class_="lead"),
        _headline(result),
        _tokenizer(result),
        _gallery(result.examples),
        _robustness(result),
        _rates(result),
        _codes(result),
        figures(result.measurements, result.unmeasured),
        _images(result),
        _skipped(result),
        provenance(result.environment, result.command, _FOOTER),
    )
    return page(f"{name} on {result.source}", result.tokenizer.fingerprint, main, _SCRIPT)


def _headline(result: EvalResult) -> Markup:
    cells = []
    found = {m.protocol.key: m for m in result.measurements}
    for key, title in _HEADLINES.items():
        if key in found:
            number, _, unit = show_measurement(found[key]).partition(" ")
            value = h("dd", number, h("small", f" {unit}") if unit else None)
            cells.append(h("div", h("dt", title), value, title=found[key].protocol.describe()))
    return h("dl", cells, class_="headline")


def _tokenizer(result: EvalResult) -> Markup:
    t = result.tokenizer
    codebook = " × ".join(f"{k:,}" for k in t.codebook) or "continuous"
    found = {
        "Licence of the weights": t.licence or "not stated",
        "Parameters": f"{t.parameters / 1e6:.2f} million" if t.parameters >= 1e5 else f"{t.parameters:,}",
        "Tokens": f"one for each {t.stride}×{t.stride} pixels" if t.stride > 1 else "see the images below",
        "Codebook": codebook,
        "Fingerprint": h("code", t.fingerprint),
    }
    return facts(found)


def _gallery(examples: Sequence[Example]) -> Markup:
    intro = (
        "Drag the line: the original is on its left, the reconstruction on its right. Beside it, the absolute "
        f"difference, {AMPLIFICATION} times as bright as it is. Pictures above {DISPLAY_SIDE} pixels are shrunk "
        "and all are stored as WebP for this page; the figures are of the full size."
    )
    return h(
        "section",
        h("h2", "What is kept"),
        h("p", intro, class_="note"),
        h("div", [_triple(e) for e in examples], class_="gallery"),
    )


def _triple(example: Example) -> Markup:
    r = example.result
    height, width = example.original.shape[:2]
    size = {"width": width, "height": height, "class_": "small" if width * height <= 128 * 128 else None}
    compare = h(
        "label",
        h("img", src=data_uri(example.original), alt=f"{r.key}, original", **size),
        h("img", src=data_uri(example.reconstruction), alt=f"{r.key}, reconstruction", **size),
        h("span", "original", class_="tag left"),
        h("span", "reconstruction", class_="tag right"),
        h(
            "input",
            type="range",
            min=0,
            max=100,
            step="any",
            value=50,
            aria_label=f"original or reconstruction of {r.key}",
        ),
        class_="compare",
    )
    difference = h(
        "div",
        h("img", src=data_uri(example.difference), alt=f"{r.key}, difference", **size),
        h("span", f"difference × {AMPLIFICATION}", class_="tag left"),
    )
    figures = f"{r.width}×{r.height} · {r.tokens:,} tokens · {show(r.values['psnr'], 'dB')}"
    if not math.isnan(r.values.get("ssim", math.nan)):
        figures += f" · SSIM {r.values['ssim']:.3f}"
    caption = h("figcaption", h("span", r.key), h("span", figures))
    # Two pictures side by side, neither higher than a screen.
    wide = f"max-width: {max(320, 2 * _PICTURE_HEIGHT * width // height)}px"
    return h("figure", h("div", compare, difference, class_="triple"), caption, style=wide)


def _robustness(result: EvalResult) -> Markup | None:
    found = result.robustness
    if found is None:
        return None
    curves = robustness.curves(found)
    return h(
        "section",
        h("h2", "Robustness"),
        h("p", f"{robustness.title(found)}.", class_="note"),
        h(
            "div",
            h("figure", h("div", robustness.heat_table(found), class_="scroll"), h("figcaption", _HEAT)),
            h("figure", curves) if curves else None,
            class_="plots",
        ),
        h("p", robustness.notes(found), class_="note"),
        h("p", f"{found.warning}.", class_="note") if found.warning else None,
    )


def _rates(result: EvalResult) -> Markup | None:
    study = result.rates
    if study is None:
        return None
    curves = study.tokenizer[-1].rate.protocol.samples
    intro = (
        "Real file bytes with headers. The tokenizer’s network, which both sides "
        f"must have, is not counted. Curves are means over the first {curves:,} image{'s' * (curves != 1)}; "
        "there the tokens take, in bits per pixel, "
        + " and ".join(f"{show_measurement(p.rate).removesuffix(' bpp')} ({p.setting})" for p in study.tokenizer)
        + "."
    )
    plots = [rate_plot(study, key) for key in QUALITY if key in study.tokenizer[-1].quality]
    settings = "; ".join(f"{curve.codec}: {curve.settings}" for curve in study.codecs)
    return h(
        "section",
        h("h2", "Rate and distortion"),
        h("p", intro, class_="note"),
        h("div", [h("figure", each) for each in plots if each], class_="plots"),
        h("h3", equal_bytes.title(study)),
        _equal_bytes(study),
        h("p", f"{equal_bytes.notes(study)} {settings}.", class_="note"),
    )


def _equal_bytes(study: RateDistortion) -> Markup:
    _, *names = equal_bytes.headers(study)
    rows = []
    for (name, *values), coded in zip(equal_bytes.rows(study), study.at_bytes, strict=True):
        how = [m.protocol.describe() for m in (coded.point.rate, *coded.point.quality.values())]
        cells = [h("td", value, class_="number", title=text) for value, text in zip(values, how, strict=True)]
        rows.append(h("tr", h("th", name, scope="row"), cells))
    return table(("", *((name, "number") for name in names)), rows, "figures")


def _codes(result: EvalResult) -> Markup | None:
    if not result.codes:
        return None
    intro = "How often each code occurs, sorted: even use is a flat line, a collapsed codebook drops early."
    plots = [h("figure", code_plot(p), h("figcaption", code_caption(p))) for p in result.codes]
    named = {
        m.protocol.title.capitalize(): show_measurement(m) for m in result.measurements if m.protocol.metric in _CODES
    }
    return h("section", h("h2", "Codes"), h("p", intro, class_="note"), h("div", plots, facts(named), class_="plots"))


def figures(measurements: Sequence[Measurement], unmeasured: Sequence[tuple[str, str]]) -> Markup:
    """A section with a row a figure and how it was measured, then what could not be measured, and why."""
    rows = []
    for m in measurements:
        p = m.protocol
        parts = (p.definition, p.rounding and f"on {p.rounding} in {p.data_range}", p.resize, p.network, p.conditions)
        how = "; ".join(part for part in (*parts, f"n = {p.samples:,}") if part)
        rows.append(
            h(
                "tr",
                h("th", p.title, scope="row"),
                h("td", show_measurement(m), class_="number"),
                h("td", show_spread(m), class_="number"),
                h("td", how, class_="how"),
                title=p.describe(),
            )
        )
    names = ("Metric", ("Value", "number"), ("Spread", "number"), "Measured as")
    return h(
        "section",
        h("h2", "Figures"),
        h("p", "Spread is the standard deviation over images.", class_="note"),
        table(names, rows, "figures"),
        [h("p", f"Not measured: {name}, as {why}.", class_="note") for name, why in unmeasured],
    )


def _images(result: EvalResult) -> Markup:
    rows = [h("tr", _image_cells(image)) for image in result.images]
    note = f"The {len(rows)} images with the lowest PSNR." if len(rows) < result.count else None
    names = (
        "Image",
        ("Size", "number"),
        ("Tokens", "number"),
        ("PSNR, dB", "number"),
        ("SSIM", "number"),
        ("bpp", "number"),
    )
    return h("section", h("h2", "Images"), h("p", note, class_="note") if note else None, table(names, rows, "images"))


def _image_cells(r: ImageResult) -> list[Markup]:
    values = {
        unit: r.values.get(key, math.nan)
        for key, unit in (("psnr", "dB"), ("ssim", ""), ("bits_per_pixel/fixed_length", "bpp"))
    }
    numbers = [
        f"{r.width}×{r.height}",
        f"{r.tokens:,}",
        *(show(v, unit).removesuffix(unit) for unit, v in values.items()),
    ]
    return [h("td", r.key, class_="name-cell"), *(h("td", n, class_="number") for n in numbers)]


def _skipped(result: EvalResult) -> Markup | None:
    if not result.skipped_count:
        return None
    rows = [
        h("tr", h("td", key, class_="name-cell"), h("td", why, class_="how"))
        for key, why in result.skipped[:_SKIPPED_LISTED]
    ]
    more = result.skipped_count - len(rows)
    note = h("p", f"And {more:,} more.", class_="note") if more else None
    return h(
        "section",
        h("h2", f"Skipped files: {result.skipped_count:,}"),
        table(("File", "Reason"), rows, "skipped"),
        note,
    )
