"""One golden case: what was run, its arrays, and the record of what has been checked."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

RTOL, ATOL = 1e-3, 1e-4
MIN_MARGIN = 1e-4
"""Ids whose stored margin (best against second-best code) is not above this may legitimately differ."""


@dataclass
class Line:
    """The verdict on one array."""

    name: str
    ok: bool
    text: str


@dataclass
class Case:
    """A golden case and the verdicts so far.

    Attributes:
        meta: system, official class, configuration, official keys and shapes, notes.
        arrays: inputs, outputs and margins by name.
        lines: one verdict an output array.
        seen: names that were read as input or checked as output; the rest is an omission.
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    lines: list[Line] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, path: str | Path) -> Case:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return cls(json.loads(str(arrays.pop("meta"))), arrays)

    def find(self, *names: str) -> str | None:
        """The first of `names` that the case has."""
        return next((name for name in names if name in self.arrays), None)

    def read(self, name: str) -> Tensor:
        """An array of the case as input."""
        self.seen.add(name)
        return torch.from_numpy(self.arrays[name])

    def check(self, name: str, got: Tensor) -> None:
        """Compare a floating-point output; the case may hold every n-th entry of some axes only."""
        self.seen.add(name)
        want = self.arrays[name].astype(np.float64)
        errors = [np.abs(value - want) for value in subsamples(got.detach().double().cpu().numpy(), want.shape)]
        if not errors:
            self._add(name, False, f"shape {tuple(got.shape)} against {want.shape}")
            return
        error = min(errors, key=lambda e: e.max(initial=0.0))
        ok = bool(np.all(error <= ATOL + RTOL * np.abs(want)))  # false for NaN
        self._add(name, ok, f"max abs error {error.max(initial=0.0):.2e}")

    def check_ids(self, name: str, got: Tensor) -> None:
        """Compare ids wherever the stored margin exceeds `MIN_MARGIN`."""
        self.seen.add(name)
        want, value = self.arrays[name], got.detach().cpu().numpy()
        if want.size != value.size:
            self._add(name, False, f"shape {value.shape} against {want.shape}")
            return
        clear = self._margin(name, want.size) > MIN_MARGIN
        wrong = int(((value.ravel() != want.ravel()) & clear).sum())
        self._add(name, wrong == 0 and bool(clear.any()), f"{wrong} of {int(clear.sum())} ids differ")

    def close(self) -> None:
        """Count every output that nobody looked at as failed, so that no handler skips one."""
        for name in sorted(set(self.arrays) - self.seen):
            if "margin" not in name:
                self._add(name, False, "not checked: the handler does not know this array")

    @property
    def ok(self) -> bool:
        return bool(self.lines) and all(line.ok for line in self.lines)

    def _margin(self, name: str, size: int) -> np.ndarray:
        """The stored margin of each id; infinite, so that all ids count, where there is none."""
        found = self.find(f"{name}_margin", f"margin_{name}", "margin", "margins")
        stored = found is not None and self.arrays[found].size == size
        return self.arrays[found].ravel() if stored else np.full(size, np.inf)

    def _add(self, name: str, ok: bool, text: str) -> None:
        self.lines.append(Line(name, ok, text))


def subsamples(value: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`value` as every n-th entry of each axis, for all n that give it `shape`; short axes may have several."""
    if value.ndim != len(shape):
        if value.size == math.prod(shape):
            yield value.reshape(shape)
        return
    steps = [
        [n for n in range(1, have + 1) if -(-have // n) == want] if have != want else [1]
        for have, want in zip(value.shape, shape, strict=True)
    ]
    for choice in itertools.product(*steps):
        yield value[tuple(slice(None, None, n) for n in choice)]
