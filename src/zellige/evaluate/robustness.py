"""pFID with its grid, in words: for the terminal and the page."""

from __future__ import annotations

from zellige.evaluate.figures import show
from zellige.evaluate.markup import Markup, h
from zellige.evaluate.result import Robustness, RobustnessCell
from zellige.evaluate.svg import Axis, Series, plot
from zellige.metrics import Measurement

CLEAN = "0, clean"
"""The row of the distance without perturbation, whatever delta is."""


def title(found: Robustness) -> str:
    """The figure beside the clean one."""
    mean, clean = found.mean, found.clean
    return (
        f"{mean.protocol.metric} {show(mean.value, '')}: {clean.protocol.metric} of images decoded from perturbed "
        f"tokens, {show(clean.value, '')} without perturbation"
    )


def deltas(found: Robustness) -> list[int]:
    """The columns of the grid."""
    return list(dict.fromkeys(cell.delta for cell in found.cells))


def rows(found: Robustness) -> list[tuple[float, list[RobustnessCell]]]:
    """Each alpha with its cells, one a delta."""
    alphas = dict.fromkeys(cell.alpha for cell in found.cells)
    return [(alpha, [cell for cell in found.cells if cell.alpha == alpha]) for alpha in alphas]


def notes(found: Robustness) -> str:
    """What the grid means, and what it cost."""
    changed = [cell.changed for cell in found.cells]
    return (
        "α is the share of tokens that become one of the δ nearest codes, "
        f"{found.grid.draws}; {show(min(changed), 'share')} to {show(max(changed), 'share')} of the tokens changed. "
        f"{cost(found)}."
    )


def cost(found: Robustness) -> str:
    """Seconds of the cells beside those of the clean distance."""
    clean, cells = found.clean_seconds, found.cells_seconds
    return (
        f"The {len(found.cells)} cell{'s' * (len(found.cells) != 1)} took {show(cells, 's')}, "
        f"{cells / clean:.1f} times the {show(clean, 's')} of the clean distance"
    )


def heat_table(found: Robustness) -> Markup:
    """The grid below the clean distance, tinted from the least to the greatest distance."""
    values = [found.clean.value, *(cell.distance.value for cell in found.cells)]
    low, span = min(values), max(values) - min(values) or 1.0

    def tinted(measured: Measurement, what: str) -> Markup:
        heat = f"--heat: {(measured.value - low) / span:.3f}"
        said = f"{measured.protocol.describe()}; {what}"
        return h("td", show(measured.value, ""), class_="number", style=heat, title=said)

    def row(alpha: float, cells: list[RobustnessCell]) -> Markup:
        said = [tinted(c.distance, f"{show(c.changed, 'share')} of the tokens changed") for c in cells]
        return h("tr", h("th", f"{alpha:g}", scope="row"), said)

    head = h(
        "tr", h("th", "α \\ δ", scope="col"), [h("th", f"{d:,}", class_="number", scope="col") for d in deltas(found)]
    )
    clean = [tinted(found.clean, "no token changed") for _ in deltas(found)]
    body = [h("tr", h("th", CLEAN, scope="row"), clean), *(row(alpha, cells) for alpha, cells in rows(found))]
    return h("table", h("thead", head), h("tbody", body), class_="heat")


def curves(found: Robustness) -> Markup | None:
    """Distance over alpha, a curve a delta, the clean distance as a dashed line; None for a single alpha."""
    alphas = [alpha for alpha, _ in rows(found)]
    if len(alphas) < 2:
        return None
    series = [Series("clean", "c5", [(min(alphas), found.clean.value), (max(alphas), found.clean.value)], dashed=True)]
    for i, delta in enumerate(deltas(found)):
        cells = sorted((c for c in found.cells if c.delta == delta), key=lambda c: c.alpha)
        said = [f"α {c.alpha:g}, δ {delta}: {show(c.distance.value, '')}" for c in cells]
        series.append(Series(f"δ {delta}", f"c{i % 5}", [(c.alpha, c.distance.value) for c in cells], said))
    values = [found.clean.value, *(cell.distance.value for cell in found.cells)]
    margin = 0.08 * (max(values) - min(values)) or 1.0
    x = Axis("α, share of the tokens that are perturbed", min(alphas), max(alphas))
    y = Axis(found.clean.protocol.metric, max(0.0, min(values) - margin), max(values) + margin)
    return plot(series, x, y, title=f"{found.clean.protocol.metric} over the share of perturbed tokens")
