"""How the strength of a technique falls over a run (RobustTok, arXiv 2503.08354)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zellige.core.errors import UsageError, nearest

Formula = Literal["continuous", "official"]
FORMULAS = ("continuous", "official")


@dataclass(frozen=True)
class Annealing:
    """A factor that is 1 up to `start`, falls in a line, and stays at `ratio` after `end`.

    At e between s and t: 1 − (1 − R)·(e − s)/(t − s). The released schedule ("official") multiplies by R in place
    of 1 − R; the two agree for R = ½, and for any other the official factor jumps right after `end`.

    Attributes:
        start: s, in the unit of what `factor` is asked for: share of the run, epoch or step.
        end: t, at least s.
        ratio: R, in [0, 1].
        formula: of the way from 1 to R.
    """

    start: float = 0.2
    end: float = 0.6
    ratio: float = 0.5
    formula: Formula = "continuous"

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise UsageError(f"annealing ends after it starts, both at least 0; got {self.start:g} to {self.end:g}")
        if not 0 <= self.ratio <= 1:
            raise UsageError(f"the ratio that annealing ends at is in [0, 1]; got {self.ratio:g}")
        if self.formula not in FORMULAS:
            raise nearest(self.formula, list(FORMULAS), "formula of annealing")

    def factor(self, at: float) -> float:
        """The factor at `at`, in [0, 1]."""
        if at < self.start:
            return 1.0
        if at > self.end:
            return self.ratio
        if self.end == self.start:
            return 1.0
        depth = self.ratio if self.formula == "official" else 1 - self.ratio
        return 1 - (at - self.start) / (self.end - self.start) * depth

    def strength(self, at: float, *, alpha: float, delta: int) -> tuple[float, int]:
        """`alpha` and `delta` at `at`: both times the factor, delta rounded down but never below 1."""
        factor = self.factor(at)
        return factor * alpha, max(1, int(factor * delta))
