"""Folder encoding end to end: the share of the slower of decoder and network, and memory over many images."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.harness import Bench
from benchmarks.machine import Calibration, MemoryWatch
from benchmarks.pictures import write_folder
from zellige.cli.encode import run as encode_command
from zellige.cli.inputs import ImageInputs
from zellige.cli.runtime import Session, open_session
from zellige.data.batches import by_size, padded_size, stack

SPEED = (192, 500, 375, 256)
"""Images, their width and height, side of the crop that is encoded: for the speed."""
MEMORY = (5000, 160, 120, 64)
"""The same for the memory."""
BATCH = 32
FLAT = 1.05
"""Greatest ratio of the memory of the last tenth of a run to that of the second tenth."""


def run(bench: Bench) -> None:
    """What `zellige encode FOLDER -o set.parquet --size S` does, timed whole and in its two parts."""
    session = open_session("zellige-photo", "cpu")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        count, width, height, side = SPEED
        write_folder(folder, count, width, height)
        _speed(bench, session, folder, side, f"{count} JPEG of {width}×{height} at {side}×{side} to a token set")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        count, width, height, side = MEMORY
        write_folder(folder, count, width, height)
        with MemoryWatch() as watch:
            encode(folder, side)
        tenth = len(watch.samples) // 10
        early, late = median(watch.samples[tenth : 2 * tenth]), median(watch.samples[-tenth:])
        met = late <= FLAT * early
        job = f"{count:,} JPEG of {width}×{height} at {side}×{side} to a token set"
        what = "resident memory, second tenth of the run and last"
        bench.fact(job, what, f"{early:.0f} MB, {late:.0f} MB", "within 5%", met)


def _speed(bench: Bench, session: Session, folder: Path, side: int, job: str) -> None:
    """Rates of decoder alone, network alone and both, in turn; the share is taken round by round."""
    batches = [
        stack(batch, session.tokenizer.stride)
        for batch in by_size(ImageInputs([str(folder)], side), BATCH, lambda r: padded_size(r, 1))
    ]
    parts: dict[str, Callable[[], object]] = {
        "decoder": lambda: sum(1 for _ in ImageInputs([str(folder)], side)),
        "network": lambda: [session.encode(batch) for batch in batches],
        "both": lambda: encode(folder, side),
    }
    before = Calibration.measure()
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(bench.rounds):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - start)
    around = before, Calibration.measure()
    for name, times in seconds.items():
        bench.fact(job, f"{name}, images a second", f"{SPEED[0] / median(times):.0f}", around=around)
    shares = [max(d, n) / b for d, n, b in zip(*seconds.values(), strict=True)]
    share = f"**{median(shares):.0%}** ({min(shares):.0%} to {max(shares):.0%})"
    bench.fact(job, "end to end, share of the slower part's rate", share, "≥ 80%", median(shares) >= 0.8, around)


def encode(folder: Path, side: int) -> None:
    """The command, loading of the tokenizer included."""
    target = f"{folder}-{time.monotonic_ns()}.parquet"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        encode_command([str(folder)], target, size=side, batch_size=BATCH, device="cpu")
