"""Cases whose outputs are a list of ``names`` beside a list of ``values``."""

from __future__ import annotations

from collections.abc import Callable

from tests.parity.case import Case, Line


def check_number(case: Case, name: str, got: float, want: float, *, rtol: float, atol: float = 0.0) -> None:
    """Compare one number; an infinite one must be equal."""
    error = 0.0 if got == want else abs(got - want)
    case.lines.append(Line(name, error <= atol + rtol * abs(want), f"{got:.12g} against {want:.12g}"))


def check_named(case: Case, compute: Callable[[str], float], tolerance: Callable[[str], float]) -> None:
    """Compare ``values`` with what `compute` gives for each of ``names``; `tolerance` is relative."""
    case.seen.update({"names", "values"})
    for name, want in zip(case.arrays["names"].tolist(), case.arrays["values"].tolist(), strict=True):
        check_number(case, name, compute(name), want, rtol=tolerance(name))


def check_array(case: Case, name: str, got: object, *, rtol: float, atol: float = 0.0) -> None:
    """Compare an array entry by entry under a tolerance of its own."""
    import numpy as np

    case.seen.add(name)
    want, value = case.arrays[name].astype(np.float64), np.asarray(got, np.float64)
    if want.shape != value.shape:
        case.lines.append(Line(name, False, f"shape {value.shape} against {want.shape}"))
        return
    error = np.abs(value - want)
    ok = bool((error <= atol + rtol * np.abs(want)).all())
    case.lines.append(Line(name, ok, f"max abs error {error.max(initial=0.0):.2e}"))
