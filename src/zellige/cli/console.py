"""What the commands print: tables and JSON on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

WIDE = 160  # columns of a table that goes into a pipe or a file
EVERY = 10.0  # seconds between progress lines where there is no terminal


def print_json(value: Any) -> None:
    """`value` as indented JSON on stdout; floats that are no number become null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A table on stdout, its first column never broken; the columns named in `right` are aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, header in enumerate(headers):
        whole = number == 0 or header in right
        table.add_column(header, justify="right" if header in right else "left", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    print_wide(table)


def print_wide(renderable: Any) -> None:
    """Something of rich on stdout, wide where it does not go to a terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(renderable)


def note(text: str) -> None:
    """One line on stderr for the person who waits."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts finished items, on a bar where stderr is a terminal and in a line now and then elsewhere."""

    def __init__(self, label: str, total: int | None, bar: Any = None) -> None:
        self.label, self.total, self.done = label, total, 0
        self._bar, self._started, self._last = bar, time.monotonic(), time.monotonic()
        self._task = bar.add_task(label, total=total) if bar else None

    def reach(self, done: int) -> None:
        """`done` items in all are finished."""
        self.advance(done - self.done)

    def advance(self, count: int = 1) -> None:
        """`count` more items are finished."""
        self.done += count
        if self._bar:
            self._bar.advance(self._task, count)
        elif time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            rate = self.done / (self._last - self._started)
            of = f" of {self.total:,}" if self.total else ""
            note(f"{self.label}: {self.done:,}{of}, {rate:.1f} a second")


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Progress]:
    """A `Progress` on stderr for as long as the block runs; `total` is None where it is unknown."""
    if not sys.stderr.isatty():
        yield Progress(label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Lines printed meanwhile go above the bar, but only where stdout is this terminal and no pipe.
    with Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        yield Progress(label, total, bar)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
