"""What studies share: intervals over seeds, records of results, tables in pages."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zellige.core.files import replacing

ROOT = Path(__file__).resolve().parents[1]
CONFIDENCE = 0.95
Record = dict[str, Any]


@dataclass(frozen=True)
class Interval:
    """The mean over seeds, and half the width of its interval of 95 % confidence (Student's t)."""

    mean: float
    half: float
    count: int

    def show(self, form: str = ".1f", unit: str = "") -> str:
        """``12.3 ± 0.4``; the mean alone where one seed says nothing of the others."""
        mean = f"{self.mean:{form}}"
        return mean + unit if math.isnan(self.half) else f"{mean} ± {self.half:{form.lstrip('+')}}{unit}"


def interval(values: Sequence[float]) -> Interval:
    """Of values that differ in their seed alone; the half-width of a single one is no number."""
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Interval(mean, math.nan, count)
    spread = statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, student_quantile(CONFIDENCE, count - 1) * spread, count)


def student_quantile(confidence: float, degrees: int) -> float:
    """The t that a variable of Student's distribution stays within, on both sides, with this probability."""
    low, high = 0.0, 1.0
    while _student_inside(high, degrees) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_inside(middle, degrees) < confidence else (low, middle)
    return (low + high) / 2


def _student_inside(t: float, degrees: int) -> float:
    """P(|T| ≤ t), exact for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    total, term = 0.0, cosine if degrees % 2 else 1.0
    for power in range(3 if degrees % 2 else 2, degrees + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    if degrees % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + math.sin(angle) * total)


def digest(texts: Sequence[str]) -> str:
    """Ten hex digits of what was set, to name the folder of a run by."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:10]


def options(program: str, about: str, work: str) -> argparse.ArgumentParser:
    """The options that all studies have; `work` names their folder among the runs."""
    parser = argparse.ArgumentParser(prog=f"python -m studies.{program}", description=about)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets of images")
    parser.add_argument("--seeds", type=int, default=3, help="pairs of tokenizers for each set")
    parser.add_argument("--scale", choices=("full", "quick"), default="full", help="quick: figures mean nothing")
    parser.add_argument("--work", type=Path, default=Path("runs/studies") / work, help="folder of models and figures")
    parser.add_argument("--output", type=Path, help="folder of the results; this folder and the docs unless told")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options given; figures of the quick scale are not to take the place of real ones."""
    wanted = parser.parse_args(arguments)
    if wanted.scale == "quick" and wanted.output is None:
        parser.error("figures of the quick scale mean nothing: name a folder for them by --output")
    return wanted


def write_record(path: Path, record: Record) -> None:
    """Write JSON that appears whole or not at all; what is no number becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        text = json.dumps(_finite(record), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", "utf-8")


def publish(record: Record, shown: str, output: Path | None, module: str | None = None) -> None:
    """Write the record of a study and print what is shown of it; without an `output` folder the docs show it too.

    Args:
        record: its ``study`` names the file.
        module: of the study, where that is not its name.
    """
    name = record["study"]
    write_record((output or ROOT / "studies" / "results") / f"{name}.json", record)
    if output is None:
        splice(ROOT / "docs" / "studies.md", module or name, shown)
    print(shown)


def read_record(path: Path) -> Record:
    """What `write_record` wrote; an empty record if there is no such file."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are aligned on the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def splice(page: Path, name: str, block: str) -> None:
    """Put `block` between the markers of `name` in a page."""
    text = page.read_text("utf-8")
    begin, end = f"<!-- {name}: made by python -m studies.{name} -->\n", f"<!-- end of {name} -->"
    pattern = rf"({re.escape(begin)}).*?({re.escape(end)})"
    found, count = re.subn(pattern, lambda match: f"{match[1]}{block}\n{match[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page.name} has {count} places marked '{name}', not 1")
    with replacing(page) as temporary:
        temporary.write_text(found, "utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
