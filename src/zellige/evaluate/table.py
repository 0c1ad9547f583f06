"""The figures of an evaluation as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zellige.evaluate.figures import show_measurement, show_spread
from zellige.evaluate.result import EvalResult

if TYPE_CHECKING:
    from rich.table import Table


def table(result: EvalResult) -> Table:
    """One row a figure: metric, value, standard deviation over images, and how it was measured."""
    from rich.markup import escape
    from rich.table import Table

    images = f"{result.count:,} image{'s' * (result.count != 1)}"
    title = escape(f"{result.tokenizer.name} on {result.source}, {images}")
    found = Table(title=title, title_justify="left")
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
