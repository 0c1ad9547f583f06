"""The figures of an evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zellige.evaluate import equal_bytes, robustness
from zellige.evaluate.compare import Difference
from zellige.evaluate.figures import show, show_measurement, show_spread
from zellige.evaluate.generation import GenerationResult
from zellige.evaluate.lineup import Lineup, arrow, show_value
from zellige.evaluate.result import EvalResult, RateDistortion, Robustness
from zellige.metrics import Measurement

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def table(result: EvalResult) -> Table:
    """The figures of a tokenizer."""
    images = f"{result.count:,} image{'s' * (result.count != 1)}"
    return figures_table(
        f"{result.tokenizer.name} on {result.source}, {images}", result.measurements, result.unmeasured
    )


def generation_table(result: GenerationResult) -> Table:
    """The figures of a generator."""
    title = f"{result.generator.name} beside {result.source}, {result.count:,} samples"
    return figures_table(title, result.measurements, result.unmeasured)


def figures_table(title: str, measurements: Sequence[Measurement], unmeasured: Sequence[tuple[str, str]]) -> Table:
    """One row a figure: metric, value, standard deviation over images, and how it was measured."""
    from rich.markup import escape
    from rich.table import Table

    missing = ", ".join(name for name, _ in unmeasured)
    caption = f"not measured: {escape(missing)}; the reasons are in result.json" if missing else None
    found = Table(title=escape(title), title_justify="left", caption=caption, caption_justify="left")
    found.add_column("metric", no_wrap=True)
    found.add_column("value", justify="right", no_wrap=True)
    found.add_column("spread", justify="right", no_wrap=True)
    found.add_column("measured as", style="dim")
    for m in measurements:
        p = m.protocol
        parts = (p.definition, p.rounding and f"on {p.rounding}", p.conditions, f"n = {p.samples:,}")
        how = "; ".join(part for part in parts if part)
        found.add_row(p.title, show_measurement(m), show_spread(m), escape(how))
    return found


def rates_table(study: RateDistortion) -> Table:
    """The tokenizer and the codecs at equal bytes, one row each."""
    from rich.table import Table

    title, notes = equal_bytes.title(study), equal_bytes.notes(study)
    found = Table(title=title, title_justify="left", caption=notes, caption_justify="left")
    for number, header in enumerate(equal_bytes.headers(study)):
        found.add_column(header, justify="right" if number else "left")
    for row in equal_bytes.rows(study):
        found.add_row(*row)
    return found


def robustness_table(found: Robustness) -> Group:
    """pFID's grid: a row a share of perturbed tokens, a column a number of codes to choose from."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table()
    deltas = robustness.deltas(found)
    for name in ("α \\ δ", *(f"{delta:,}" for delta in deltas)):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_row(robustness.CLEAN, *[show_measurement(found.clean)] * len(deltas), end_section=True)
    for alpha, cells in robustness.rows(found):
        grid.add_row(f"{alpha:g}", *(show_measurement(cell.distance) for cell in cells))
    return Group(Text(robustness.title(found), "italic"), grid, Text(robustness.notes(found), "dim"))


def lineup_table(found: Lineup) -> Table:
    """Tokenizers side by side, a row a figure; the best of a row is bold."""
    from rich.markup import escape
    from rich.table import Table

    first = found.results[0]
    title = escape(f"The same {first.count:,} images of {first.source}")
    missing = ", ".join(dict.fromkeys(name for result in found.results for name, _ in result.unmeasured))
    caption = f"not measured: {escape(missing)}; the reasons are in result.json" if missing else None
    grid = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    grid.add_column("", no_wrap=True)
    for label in found.labels:
        grid.add_column(escape(label), justify="right")
    for row in found.rows:
        texts = (escape(show_value(row, value)) for value in row.values)
        cells = (f"[bold]{text}[/bold]" if best else text for text, best in zip(texts, row.best, strict=True))
        grid.add_row(escape(arrow(row)), *cells)
    return grid


def differences_table(differences: Sequence[Difference], name: str) -> Table:
    """The figures of `name`, an earlier evaluation, and of this one."""
    from rich.markup import escape
    from rich.table import Table

    found = Table(title=escape(f"Against {name}"), title_justify="left")
    found.add_column("metric", no_wrap=True)
    for header in ("there", "here", "change"):
        found.add_column(header, justify="right", no_wrap=True)
    for d in differences:
        change = show(abs(d.change), d.first.protocol.unit)
        sign = "+" if d.change > 0 else "−" if d.change < 0 else ""
        found.add_row(d.first.protocol.title, show_measurement(d.first), show_measurement(d.second), f"{sign}{change}")
    return found
