"""`python -m benchmarks [ROW …]`: run rows of the comparison, each in a process of its own, and record them."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.harness import Bench
from benchmarks.machine import machine
from benchmarks.results import record
from zellige.data.parallel import usable_cpus

ROWS = {
    "1": "nearest_code",
    "2": "residual",
    "3": "moving_average",
    "4": "lookup_free",
    "5": "vq16",
    "6": "tiling",
    "7": "next_token",
    "9": "frechet",
    "12a": "data",
    "folder": "folder",
    "masked": "masked",
    "official": "official",
    "order": "order",
    "perturbation": "perturbation",
    "sampling": "sampling",
    "step": "training_step",
}
"""Modules by the name of their row. A row that takes an argument is asked for as ``row:argument``."""
OF_A_CHECKOUT = ("official",)
"""Rows that run code of others from a folder, their argument: not among those that run unless told."""


def main() -> None:
    """Run the rows named on the command line, by default all that need no checkout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=7, help="timings of each side")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="of torch; all CPUs unless told")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="folder to record in")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # file of the one row that a child process runs
    wanted = parser.parse_args()
    if unknown := {row for row in wanted.rows if row.partition(":")[0] not in ROWS}:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if bare := set(wanted.rows) & set(OF_A_CHECKOUT):
        parser.error(f"row {', '.join(bare)} takes the folder of a checkout, as {min(bare)}:FOLDER")
    torch.set_num_threads(wanted.threads)
    if wanted.into:
        bench = Bench(wanted.rounds)
        name, colon, argument = wanted.rows[0].partition(":")
        importlib.import_module(f"benchmarks.{ROWS[name]}").run(bench, *([argument] if colon else []))
        wanted.into.write_text(json.dumps(bench.record()))
        return
    failed = []
    for row in wanted.rows or [row for row in ROWS if row not in OF_A_CHECKOUT]:
        print(f"row {row}: {ROWS[row.partition(':')[0]]}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            into = Path(folder) / "row.json"
            settings = ["--rounds", str(wanted.rounds), "--threads", str(wanted.threads)]
            command = [sys.executable, "-m", "benchmarks", row, *settings, "--into", str(into)]
            if subprocess.run(command, check=False).returncode:
                failed.append(row)
            else:
                print(record(wanted.results, titled(row), json.loads(into.read_text()), machine(), list(ROWS)))
    if failed:
        sys.exit(f"failed: row {', '.join(failed)}")


def titled(row: str) -> str:
    """The row as it is recorded: of files that it was given the names, and not where they lie."""
    name, colon, argument = row.partition(":")
    return f"{name}{colon}{Path(argument).name if Path(argument).exists() else argument}"


if __name__ == "__main__":
    main()
