"""Two evaluations side by side: only figures that were measured alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from zellige.core.errors import DataError, UsageError, ZelligeError, reason
from zellige.evaluate.result import EvalResult
from zellige.metrics import Measurement, Protocol, column

LARGEST_FILE = 64 << 20
"""Bytes of a result.json; a longer file is none."""
_NOT_QUALITY = ("speed", "codebook", "code ")


@dataclass(frozen=True)
class Difference:
    """A figure of two evaluations, measured alike in both."""

    first: Measurement
    second: Measurement

    @property
    def change(self) -> float:
        """Second minus first, in the figure's unit."""
        return self.second.value - self.first.value


def compare(first: EvalResult | str | Path, second: EvalResult | str | Path) -> tuple[Difference, ...]:
    """The figures that both evaluations have, results or paths of ``result.json``.

    Speeds of unlike machines and uses of unlike codebooks are left out; of all else the protocols must agree.

    Raises:
        UsageError: no such file.
        DataError: a file is no ``result.json``.
        ZelligeError: a figure was measured in unlike ways, which the line names; or there is none in common.
    """
    return differences(_measurements(first), _measurements(second))


def differences(first: Sequence[Measurement], second: Sequence[Measurement]) -> tuple[Difference, ...]:
    """As `compare`, of the figures themselves."""
    theirs = {m.protocol.key: m for m in second}
    pairs = [(m, theirs[m.protocol.key]) for m in first if m.protocol.key in theirs]
    found = []
    for pair in pairs:
        if _depends_on_more(pair[0].protocol) and pair[0].protocol != pair[1].protocol:
            continue
        column(pair)
        found.append(Difference(*pair))
    if not found:
        raise ZelligeError("the two evaluations have no figure in common")
    return tuple(found)


def read_measurements(path: str | Path) -> tuple[Measurement, ...]:
    """The figures of a ``result.json``. Raises `UsageError` if there is no file, `DataError` if it is another kind."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"no result.json at '{path}'")
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError("it is too large")
        found = tuple(_measurement(item) for item in json.loads(file.read_text("utf-8"))["measurements"])
    except OSError as error:
        raise DataError(f"cannot read '{path}': {reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = " ".join(str(error).split())[:120]
        raise DataError(f"'{path}' is no result.json of an evaluation: {what}") from None
    return found


def _measurements(result: EvalResult | str | Path) -> tuple[Measurement, ...]:
    return result.measurements if isinstance(result, EvalResult) else read_measurements(result)


def _measurement(item: dict[str, Any]) -> Measurement:
    given = item["protocol"]
    for field in fields(Protocol):
        kind = int if field.name == "samples" else str
        if not isinstance(given.get(field.name), kind):
            raise ValueError(f"'{field.name}' of a protocol is missing, or no {kind.__name__}")
    value = float(item["value"])  # ∞ and NaN are text in JSON
    spread = None if item["spread"] is None else float(item["spread"])
    return Measurement(value, Protocol(**{f.name: given[f.name] for f in fields(Protocol)}), spread)


def _depends_on_more(protocol: Protocol) -> bool:
    """Whether a figure says something of the machine or the codebook, and so may differ in what it is measured on."""
    return any(word in protocol.metric for word in _NOT_QUALITY)
