"""The golden cases of `tests/goldens`; those of `slow.txt` run by `make parity` only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.runner import run

GOLDENS = Path(__file__).parent.parent / "goldens"
SLOW = {
    line.split("#")[0].strip()
    for line in (Path(__file__).parent / "slow.txt").read_text("utf-8").splitlines()
    if line.split("#")[0].strip()
}
CASES = sorted(str(path.relative_to(GOLDENS)) for path in GOLDENS.rglob("*.npz"))


@pytest.mark.parametrize("name", CASES)
def test_golden_case(name: str) -> None:
    if name in SLOW:
        pytest.skip("takes long or much memory; runs with: make parity")
    ok, lines = run(GOLDENS / name)
    assert ok, "\n".join(f"{line.name}: {line.text}" for line in lines if not line.ok)


def test_slow_cases_exist() -> None:
    assert set(CASES) >= SLOW
