"""How every comparison here is made.

Equal results first: a row asserts them before anything is timed. Then ours and the peers run in turn, in an
order that rotates from round to round, between two calibrations of the machine; the ratio is taken round by
round. A comparison during which the machine was not quiet is kept, marked as noisy, and says why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch

from benchmarks.machine import Calibration, noise, peak_extra

SHORTEST = 0.02
"""Seconds a timing lasts at least; shorter calls are repeated within it."""

Call = Callable[[], object]


class UnequalError(Exception):
    """Ours and a peer's results differ, so that their speeds mean nothing."""


@dataclass(frozen=True)
class Peer:
    """What ours is compared with.

    Attributes:
        name: package and call.
        run: one call.
        target: least ratio of its time to ours that is aimed at; None where none is.
    """

    name: str
    run: Call
    target: float | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds a call of one side: median and least over the rounds; MB that it adds at its peak."""

    name: str
    median: float
    least: float
    megabytes: float | None


@dataclass(frozen=True)
class Comparison:
    """One line of results: a peer's time over ours.

    Attributes:
        ratio: median over the rounds; `spread` is the least and the greatest of them.
        equal: what was asserted to be equal, and how far.
        calibration: before and after, GFLOP/s in float32/bfloat16.
        noisy: why the figures are not to be relied on; empty if they are.
    """

    job: str
    ours: Timing
    peer: Timing
    ratio: float
    spread: tuple[float, float]
    target: float | None
    equal: str
    calibration: tuple[str, str]
    noisy: str


@dataclass(frozen=True)
class Fact:
    """A figure that is no ratio of two times: a share, a memory, a seam.

    Attributes:
        met: whether `value` is as it is aimed to be; None where nothing is aimed at.
        calibration: as of a comparison, where the figure depends on the machine's speed; so is `noisy`.
    """

    job: str
    what: str
    value: str
    aim: str
    met: bool | None
    calibration: tuple[str, ...]
    noisy: str


@dataclass
class Bench:
    """Collects the comparisons and facts of one row.

    Args:
        rounds: how often each side is timed.
    """

    rounds: int
    comparisons: list[Comparison] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def compare(self, job: str, ours: tuple[str, Call], peers: list[Peer], *, equal: str, memory: bool = False) -> None:
        """Time `ours` (name, call) and its `peers` in turn; `equal` says what was required of their results."""
        sides = [ours, *((peer.name, peer.run) for peer in peers)]
        megabytes = [peak_extra(run) if memory else None for _, run in sides]
        repeats = [_repeats(run) for _, run in sides]
        before = Calibration.measure()
        seconds: list[list[float]] = [[] for _ in sides]
        for number in range(self.rounds):
            for place in range(len(sides)):
                side = (place + number) % len(sides)
                seconds[side].append(_time(sides[side][1], repeats[side]))
        after = Calibration.measure()
        timings = [
            Timing(name, median(times), min(times), extra)
            for (name, _), times, extra in zip(sides, seconds, megabytes, strict=True)
        ]
        for peer, timing, times in zip(peers, timings[1:], seconds[1:], strict=True):
            ratios = [theirs / our for theirs, our in zip(times, seconds[0], strict=True)]
            spread = (min(ratios), max(ratios))
            marks = (str(before), str(after))
            found = Comparison(
                job, timings[0], timing, median(ratios), spread, peer.target, equal, marks, noise(before, after)
            )
            self.comparisons.append(found)
            print(f"  {job} | {peer.name}: {found.ratio:.2f}×  {found.noisy}", flush=True)

    def fact(
        self,
        job: str,
        what: str,
        value: str,
        aim: str = "",
        met: bool | None = None,
        around: tuple[Calibration, Calibration] | None = None,
    ) -> None:
        """Record a figure; `around` are the calibrations before and after, if it is one of speed."""
        marks, why = (tuple(map(str, around)), noise(*around)) if around else ((), "")
        self.facts.append(Fact(job, what, value, aim, met, marks, why))
        print(f"  {job} | {what}: {value} {aim} {why}", flush=True)

    def record(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "rounds": self.rounds,
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "facts": [asdict(fact) for fact in self.facts],
        }


def require(condition: bool, what: str) -> None:
    """Raise `UnequalError` unless ours and a peer's results are equal."""
    if not condition:
        raise UnequalError(what)


def same_codes(z: torch.Tensor, codes: torch.Tensor, ours: torch.Tensor, theirs: torch.Tensor) -> str:
    """Require that two searches found codes that are equally near; returns in words how many ids are equal.

    Ids may differ where float32 cannot tell two codes apart: there the true distances differ by less than 1e-5
    of |z|² + |e|².
    """
    differ = (ours != theirs).nonzero()[:, 0]
    vectors, first, second = z[differ].double(), codes[ours[differ]].double(), codes[theirs[differ]].double()
    gap = (vectors - first).square().sum(1) - (vectors - second).square().sum(1)
    scale = vectors.square().sum(1) + first.square().sum(1)
    require(bool((gap.abs() <= 1e-5 * scale).all()), f"{len(differ)} ids differ beyond rounding")
    return "all ids" if not len(differ) else f"ids, but {len(differ)} of {len(z):,} ties within rounding"


def _repeats(run: Call) -> int:
    first = _time(run, 1)  # warms up too
    return max(1, math.ceil(SHORTEST / _time(run, 1))) if first < 1 else 1


def _time(run: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats
