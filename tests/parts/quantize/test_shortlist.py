"""A short list finds what the search in float32 finds, whatever the vectors are like."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zellige.quantize import search, shortlist

KINDS = ("normal", "clustered", "near ties", "copies", "outlier", "tiny", "huge", "not finite")


def draw(kind: str, vectors: int, codes: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Vectors (M, D) and codes (K, D) of one kind."""
    generator = torch.Generator().manual_seed(seed)
    z, table = torch.randn(vectors, dim, generator=generator), torch.randn(codes, dim, generator=generator)
    half = codes // 2
    if kind == "clustered":  # around a few centres, vectors beside codes
        table = table[torch.arange(codes) % 5] + 0.05 * torch.randn(codes, dim, generator=generator)
        z = table[torch.randint(codes, (vectors,), generator=generator)] + 0.01 * z
    elif kind == "near ties":
        table[half : 2 * half] = table[:half] * (1 + 1e-7)
    elif kind == "copies":
        table[half : 2 * half] = table[:half]
    elif kind == "outlier":
        table[0] *= 1e4
    elif kind in ("tiny", "huge"):
        scale = 1e-21 if kind == "tiny" else 1e18
        z, table = z * scale, table * scale
    elif kind == "not finite":
        z[0], z[-1] = torch.nan, torch.inf
    return z, table


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 300), st.integers(1, 700), st.integers(1, 300), st.integers(0, 2**31))
def test_settled_ids_are_those_of_the_search(kind: str, vectors: int, codes: int, dim: int, seed: int) -> None:
    z, table = draw(kind, vectors, codes, dim, seed)
    ids, settled = shortlist.settle(z, table)
    assert torch.equal(ids[settled], search._search(z, table)[settled])


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_codes_give_the_same_with_it_and_without(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    z, table = draw(kind, 500, 2500, 128, 0)
    monkeypatch.setattr(search, "worthwhile", lambda *_: True)
    with_list = search.nearest_codes(z, table)
    monkeypatch.setattr(search, "worthwhile", lambda *_: False)
    assert torch.equal(with_list, search.nearest_codes(z, table))


def test_nearly_all_vectors_are_settled_where_codes_lie_apart() -> None:
    for kind in ("normal", "clustered"):
        z, table = draw(kind, 300, 2000, 64, 3)
        assert shortlist.settle(z, table)[1].float().mean() > 0.9, kind


def test_vectors_whose_list_is_long_are_left_to_the_search() -> None:
    z, table = draw("normal", 300, 2000, 64, 3)
    assert not shortlist.settle(z, 100 + 1e-3 * table)[1].any()


def test_small_searches_and_other_devices_do_without() -> None:
    z, table = torch.zeros(4096, 256), torch.zeros(16384, 256)
    assert not shortlist.worthwhile(z[:, :8], table[:, :8])
    assert not shortlist.worthwhile(z[:8], table)
    assert not shortlist.worthwhile(z.to("meta"), table.to("meta"))
