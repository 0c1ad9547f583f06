"""The machine a benchmark runs on, and whether it is quiet: two products of matrices say so."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import torch

from zellige.evaluate.environment import cpu_name

SIZE = 2048
"""Rows and columns of the matrices."""
FLOOR = 0.88
"""Share of a quiet machine's rates below which a run is noisy."""
DRIFT = 0.15
"""Change of a rate from before a comparison to after it, above which the comparison is noisy."""
QUIET = {("amx_bf16", 2): (430.0, 2270.0), ("avx512_bf16", 2): (180.0, 420.0)}
"""GFLOP/s of float32 and bfloat16 on quiet machines, by the best bfloat16 instruction and the threads."""


def instruction() -> str:
    """The instruction that bfloat16 products run on, as far as torch tells."""
    can = torch.cpu.get_capabilities()
    return next((name for name in ("amx_bf16", "avx512_bf16", "avx512", "avx2") if can.get(name)), "unknown")


def machine() -> dict[str, str]:
    """Name → value of what identifies the machine."""
    threads = torch.get_num_threads()
    quiet = QUIET.get((instruction(), threads))
    rates = f"{quiet[0]:.0f} / {quiet[1]:.0f} GFLOP/s when quiet" if quiet else "a class without known rates"
    return {
        "processor": cpu_name(),
        "class": f"{instruction()}, {threads} thread{'s' * (threads > 1)}: {rates}",
        "torch": torch.__version__,
    }


@dataclass(frozen=True)
class Calibration:
    """GFLOP/s of the product of two 2048×2048 matrices."""

    float32: float
    bfloat16: float

    @classmethod
    def measure(cls, repeats: int = 3) -> Calibration:
        """Best of `repeats` products of each type."""
        return cls(*(_rate(dtype, repeats) for dtype in (torch.float32, torch.bfloat16)))

    def __str__(self) -> str:
        return f"{self.float32:.0f}/{self.bfloat16:.0f}"


def noise(before: Calibration, after: Calibration) -> str:
    """Why what ran between two calibrations is noisy; empty if it is not."""
    pairs = ((before.float32, after.float32), (before.bfloat16, after.bfloat16))
    drift = max(abs(a - b) / max(a, b) for a, b in pairs)
    if drift > DRIFT:
        return f"the machine's rate changed by {drift:.0%}"
    quiet = QUIET.get((instruction(), torch.get_num_threads()))
    share = min(min(pair) / rate for pair, rate in zip(pairs, quiet, strict=True)) if quiet else 1.0
    return f"the machine ran at {share:.0%} of its quiet rate" if share < FLOOR else ""


def peak_extra(run: Callable[[], object]) -> float:
    """MB that a call adds to the resident memory of this process at its peak; NaN off Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or memory freed before would be used again without being counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts afresh at what is resident now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1e3


def read_bandwidth(megabytes: int = 400, repeats: int = 5) -> float:
    """GB/s at which memory is read: the best of some sums over an array that no cache holds."""
    x = torch.ones(megabytes * 250_000)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        x.sum()
        best = min(best, time.perf_counter() - start)
    return megabytes / 1e3 / best


class MemoryWatch:
    """Samples this process's resident memory, in MB, ten times a second while it is entered."""

    def __enter__(self) -> MemoryWatch:
        self.samples: list[float] = []
        self._stop = Event()
        self._thread = Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.1):
            self.samples.append(_status("VmRSS") / 1e3)


def _rate(dtype: torch.dtype, repeats: int) -> float:
    a = torch.randn(SIZE, SIZE).to(dtype)
    a @ a
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best / 1e9


def _status(field: str) -> int:
    """A field of /proc/self/status in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])
