"""Codebook usage: by hand, in a set too large for a histogram, for groups, and across workers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.core.errors import UsageError, ZelligeError
from zellige.core.tokens import Tokens
from zellige.metrics import CodebookUsage
from zellige.metrics.usage import DenseCounts, SparseCounts


def tokens(ids: list, codebook: tuple[int, ...], lengths: list[int] | None = None) -> Tokens:
    data = torch.tensor(ids)
    return Tokens(data, ((data.shape[1],),), codebook, lengths=None if lengths is None else torch.tensor(lengths))


def values(metric: CodebookUsage) -> dict[str, float]:
    return {m.protocol.key: m.value for m in metric.compute()}


def test_usage_entropy_and_perplexity_by_hand() -> None:
    metric = CodebookUsage((8,))
    metric.update(tokens([[0, 0, 3, 5]], (8,)))
    found = values(metric)
    assert found["codebook_usage"] == 3 / 8
    assert found["code_entropy"] == pytest.approx(1.5)
    assert found["code_perplexity"] == pytest.approx(2**1.5)
    assert metric.frequencies()[0].tolist() == [2, 1, 1]
    assert metric.compute()[0].protocol.samples == 4


def test_groups_are_measured_alone_and_jointly() -> None:
    metric = CodebookUsage((2, 4))
    metric.update(tokens([[[0, 1], [1, 1], [0, 1], [1, 1]]], (2, 4)))
    found = values(metric)
    assert found["code_entropy/group_1_of_2"] == pytest.approx(1)
    assert found["code_entropy/group_2_of_2"] == 0
    assert found["codebook_usage/joint_code"] == 2 / 8


def test_padding_beyond_lengths_is_not_counted() -> None:
    metric = CodebookUsage((8,))
    metric.update(tokens([[1, 2, 7], [3, 7, 7]], (8,), lengths=[2, 1]))
    assert metric.frequencies()[0].tolist() == [1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=20), min_size=1, max_size=6))
def test_sparse_counts_are_dense_counts(batches: list[list[int]]) -> None:
    dense, sparse, halves = DenseCounts(41), SparseCounts(41), [SparseCounts(41), SparseCounts(41)]
    for i, batch in enumerate(batches):
        dense.add(torch.tensor(batch))
        sparse.add(torch.tensor(batch))
        halves[i % 2].add(torch.tensor(batch))
    halves[0].merge(halves[1])
    assert sparse.counts().tolist() == halves[0].counts().tolist() == dense.counts().tolist()
    assert sparse.codes().tolist() == dense.codes().tolist()


def test_a_codebook_of_2_to_the_36_needs_memory_for_the_codes_seen_only() -> None:
    metric = CodebookUsage((2**36,))
    for _ in range(20):
        metric.update(tokens([[2**36 - 1, 5] * 50_000], (2**36,)))
    assert values(metric)["codebook_usage"] == 2 / 2**36
    assert isinstance(metric.groups[0], SparseCounts)
    assert len(metric.groups[0]._counts) == 2


def test_workers_merge() -> None:
    first, second = CodebookUsage((2, 4)), CodebookUsage((2, 4))
    first.update(tokens([[[0, 1], [1, 3]]], (2, 4)))
    second.update(tokens([[[1, 2]]], (2, 4)))
    first.merge(second)
    assert values(first)["codebook_usage/group_2_of_2"] == 3 / 4
    with pytest.raises(UsageError, match="cannot merge"):
        first.merge(CodebookUsage((2, 8)))


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UsageError, match="continuous"):
        CodebookUsage(())
    with pytest.raises(ZelligeError, match="no tokens"):
        CodebookUsage((8,)).compute()
    with pytest.raises(UsageError, match="cannot count tokens of"):
        CodebookUsage((8,)).update(tokens([[1]], (4,)))
    with pytest.raises(UsageError, match="codes 0 to 7"):
        CodebookUsage((8,)).update(tokens([[9]], (8,)))
