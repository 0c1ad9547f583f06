"""Neighbours on grids of levels against the listed codebook."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.quantize import BinaryQuantizer, FiniteScalarQuantizer, separable
from zellige.quantize.separable import nearest_on_grid


def listed(costs: list[torch.Tensor]) -> torch.Tensor:
    """Total cost (M, K) of every code, the first dimension fastest."""
    total = torch.zeros(len(costs[0]), 1, dtype=torch.float64)
    for cost in costs:
        total = (cost.double()[:, :, None] + total[:, None]).flatten(1)
    return total


@settings(deadline=None)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=4), st.integers(0, 2**31), st.booleans(), st.data())
def test_equals_the_sorted_list_of_all_codes(levels: list[int], seed: int, ties: bool, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, math.prod(levels)))
    generator = torch.Generator().manual_seed(seed)
    costs = [torch.rand(7, level, generator=generator) for level in levels]
    if ties:
        costs = [(cost * 3).round() for cost in costs]
    first = torch.stack([cost.flip(1).argmin(1) for cost in costs], 1)  # any cheapest level will do
    first = torch.tensor(levels) - 1 - first
    got = nearest_on_grid(costs, first, k)
    want = listed(costs)
    assert all(len(set(row)) == k for row in got.tolist())
    torch.testing.assert_close(want.gather(1, got), want.sort(1).values[:, :k], rtol=1e-6, atol=1e-6)
    strides = torch.tensor([math.prod(levels[:d]) for d in range(len(levels))])
    assert torch.equal(got[:, 0], (first * strides).sum(1))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer, z = FiniteScalarQuantizer((7, 5, 5)), torch.randn(2, 50, 3)
    whole = quantizer.neighbours(z, 20)
    monkeypatch.setattr(separable, "_CHUNK", 1000)
    assert torch.equal(quantizer.neighbours(z, 20), whole)


def test_huge_codebook_is_never_listed() -> None:
    """2^60 codes: the neighbours of a code flip its smallest bits of evidence first."""
    quantizer = BinaryQuantizer.lookup_free(60)
    z = (torch.arange(60) + 1.0).view(1, 1, 60) * torch.randn(60).sign()
    found = quantizer.neighbours(z, 5)[0, 0]
    flipped = [(int(found[0]) ^ int(other)) for other in found]
    assert flipped == [0, 1, 2, 3, 4] or flipped == [0, 1, 2, 4, 3]  # |z| = 1, 2, then 1 + 2 ties with 3
