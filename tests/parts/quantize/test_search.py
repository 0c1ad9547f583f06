"""Nearest-code search against the plain definition."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.quantize import search
from zellige.quantize.search import nearest_codes, nearest_k_codes


def distances(z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return (z.double()[:, None] - codes.double()).square().sum(-1)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 6), st.integers(0, 2**31))
def test_equals_argmin_ties_included(vectors: int, codes: int, dim: int, seed: int) -> None:
    """On small integers every distance is exact, so ties are real ones: the lowest index wins."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(-2, 3, (vectors, dim), generator=generator).float()
    table = torch.randint(-2, 3, (codes, dim), generator=generator).float()
    assert torch.equal(nearest_codes(z, table), distances(z, table).argmin(1))


def test_equals_argmin_over_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_COLUMNS", 128)
    monkeypatch.setattr(search, "_TILE", {"cpu": 128 * 64})
    z, table = torch.randn(500, 8), torch.randn(1000, 8)
    assert torch.equal(nearest_codes(z, table), distances(z, table).argmin(1))
    twice = torch.cat([table, table])  # the second copy is in later tiles and loses every tie
    assert torch.equal(nearest_codes(z, twice), distances(z, table).argmin(1))


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 60), st.integers(0, 2**31), st.data())
def test_k_nearest_equal_a_full_sort(vectors: int, codes: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, codes))
    generator = torch.Generator().manual_seed(seed)
    z, table = torch.randn(vectors, 5, generator=generator), torch.randn(codes, 5, generator=generator)
    got = nearest_k_codes(z, table, nearest_codes(z, table), k)
    want = distances(z, table)
    assert got.shape == (vectors, k)
    assert torch.equal(got[:, 0], want.argmin(1))
    torch.testing.assert_close(want.gather(1, got), want.sort(1).values[:, :k], rtol=1e-5, atol=1e-6)


def test_own_code_leads_among_equal_ones() -> None:
    table = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    assert nearest_k_codes(table[2:3], table, torch.tensor([2]), 2)[0, 0] == 2


def test_vectors_that_are_not_finite_get_a_valid_id() -> None:
    z = torch.tensor([[torch.nan, 0.0], [torch.inf, 1.0], [-torch.inf, torch.inf]])
    ids = nearest_codes(z, torch.randn(70, 2))
    assert ((ids >= 0) & (ids < 70)).all()


def test_no_vectors_give_no_ids() -> None:
    assert nearest_codes(torch.zeros(0, 3), torch.zeros(5, 3)).shape == (0,)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_matmul_precision_moves_no_id(precision: str) -> None:
    z, table = torch.randn(2048, 64), torch.randn(2048, 64)
    want = nearest_codes(z, table)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert torch.equal(nearest_codes(z, table), want)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


GROWTH = """
import resource, torch
from zellige.quantize.search import nearest_codes, nearest_k_codes
torch.set_num_threads(1)
z, codes = torch.randn({vectors}, 32), torch.randn(65536, 32)
nearest_codes(z[:64], codes[:64])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ids = nearest_codes(z, codes)
nearest_k_codes(z[:256], codes, ids[:256], 100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_under_200_mb_for_65536_codes() -> None:
    """All 65,536 codes of 32 dimensions, 2,048 of 65,536 vectors: the rest only adds its rows.

    What grows with the vectors is the padded copy of them and the ids, 33 + 1 floats and 2 integers each.
    """
    run = subprocess.run(
        [sys.executable, "-c", GROWTH.format(vectors=2048)], capture_output=True, check=True, text=True
    )
    rows = (65536 - 2048) * (2 * 33 * 4 + 2 * 8)
    assert int(run.stdout) * 1024 + rows < 200e6
