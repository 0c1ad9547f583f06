"""The figures of an evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zellige.evaluate import equal_bytes
from zellige.evaluate.compare import Difference
from zellige.evaluate.figures import show, show_measurement, show_spread
from zellige.evaluate.result import EvalResult, RateDistortion

if TYPE_CHECKING:
    from rich.table import Table


def table(result: EvalResult) -> Table:
    """One row a figure: metric, value, standard deviation over images, and how it was measured."""
    from rich.markup import escape
    from rich.table import Table

    images = f"{result.count:,} image{'s' * (result.count != 1)}"
    title = escape(f"{result.tokenizer.name} on {result.source}, {images}")
    missing = ", ".join(name for name, _ in result.unmeasured)
    caption = f"not measured: {escape(missing)}; the reasons are in result.json" if missing else None
    found = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    found.add_column("metric", no_wrap=True)
    found.add_column("value", justify="right", no_wrap=True)
    found.add_column("spread", justify="right", no_wrap=True)
    found.add_column("measured as", style="dim")
    for m in result.measurements:
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
