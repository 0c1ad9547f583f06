"""Results as files: JSON to compare with, Markdown to read, one pair a day and machine."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zellige.core.files import replacing

Record = dict[str, Any]

LEGEND = """\
Times are the median (and the least) of the rounds, in ms. The ratio is the peer's time over ours, the median over
the rounds (and their least and greatest). GFLOP/s are those of a 2048³ product in float32/bfloat16 before and after.
A line with ⚠ was measured on a machine that was not quiet.
"""


def record(folder: Path, row: str, found: Record, machine: dict[str, str], order: list[str]) -> Path:
    """Enter the results of a row and write both files; returns the Markdown one.

    Results that are there stay if they are less noisy than the new ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", f"{machine['processor']} {machine['class'].partition(':')[0]}".lower()).strip("-")
    path = folder / f"{datetime.now(UTC):%Y-%m-%d}-{name}"
    data = path.with_suffix(".json")
    results: Record = json.loads(data.read_text()) if data.exists() else {"machine": machine, "rows": {}}
    rows = results["rows"]
    if row not in rows or noisy_lines(found) <= noisy_lines(rows[row]):
        rows[row] = {"at": f"{datetime.now(UTC):%H:%M} UTC", **found}
    found_in_order = sorted(
        (row for row in rows if _name(row) in order), key=lambda row: (order.index(_name(row)), row)
    )
    results["rows"] = {row: rows[row] for row in found_in_order}
    _write(data, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    _write(path.with_suffix(".md"), markdown(results))
    return path.with_suffix(".md")


def _name(row: str) -> str:
    """A row without its argument."""
    return row.partition(":")[0]


def noisy_lines(row: Record) -> int:
    """Lines of a row that were not measured on a quiet machine."""
    return sum(bool(line["noisy"]) for line in (*row["comparisons"], *row["facts"]))


def markdown(results: Record) -> str:
    """The tables."""
    lines = ["# Benchmarks", "", *(f"- {name}: {value}" for name, value in results["machine"].items()), "", LEGEND]
    for row, found in results["rows"].items():
        lines += [f"## Row {row}", "", f"{found['rounds']} rounds, {found['at']}", ""]
        if found["comparisons"]:
            lines += ["| job | ours | peer | ratio | aim | equal | GFLOP/s | |", "|---|---|---|---|---|---|---|---|"]
            lines += [_comparison(line) for line in found["comparisons"]] + [""]
        if found["facts"]:
            lines += ["| job | figure | value | aim | GFLOP/s | |", "|---|---|---|---|---|---|"]
            lines += [_fact(line) for line in found["facts"]] + [""]
    return "\n".join(lines)


def _comparison(line: Record) -> str:
    aim = "" if line["target"] is None else f"≥ {line['target']:g} {_mark(line['ratio'] >= line['target'])}"
    ratio = f"**{line['ratio']:.2f}** ({line['spread'][0]:.2f} to {line['spread'][1]:.2f})"
    cells = (line["job"], _timing(line["ours"]), _timing(line["peer"]), ratio, aim, line["equal"])
    return f"| {' | '.join(cells)} | {_calibration(line)} |"


def _fact(line: Record) -> str:
    aim = line["aim"] if line["met"] is None else f"{line['aim']} {_mark(line['met'])}"
    return f"| {line['job']} | {line['what']} | {line['value']} | {aim} | {_calibration(line)} |"


def _calibration(line: Record) -> str:
    return f"{' → '.join(line['calibration'])} | {'⚠ ' + line['noisy'] if line['noisy'] else ''}"


def _timing(side: Record) -> str:
    memory = "" if side["megabytes"] is None else f", {side['megabytes']:.0f} MB"
    return f"{side['name']}: {_ms(side['median'])} ({_ms(side['least'])}) ms{memory}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def _mark(met: bool) -> str:
    return "✓" if met else "✗"


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")
