"""The golden cases of `tests/goldens`; `make parity` prints their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.runner import run

GOLDENS = Path(__file__).parent.parent / "goldens"
CASES = sorted(str(path.relative_to(GOLDENS)) for path in GOLDENS.rglob("*.npz"))


@pytest.mark.parametrize("name", CASES)
def test_golden_case(name: str) -> None:
    ok, lines = run(GOLDENS / name)
    assert ok, "\n".join(f"{line.name}: {line.text}" for line in lines if not line.ok)
