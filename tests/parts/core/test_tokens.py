"""The laws of `Tokens`."""

from __future__ import annotations

import math

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens, layout_size


def grid(batch: int = 3, h: int = 2, w: int = 4, codes: int = 16) -> Tokens:
    return Tokens(torch.arange(batch * h * w).reshape(batch, h * w) % codes, ((h, w),), (codes,))


def sequence(n: int = 8, lengths: torch.Tensor | None = None) -> Tokens:
    return Tokens(torch.arange(2 * n).reshape(2, n), ((n,),), (64,), lengths=lengths)


def test_layout_size_adds_the_products_of_its_blocks() -> None:
    assert layout_size(((1, 1), (2, 2), (3, 3))) == 14
    assert layout_size(((128,), (21, 21))) == 569


def test_bits_count_every_sub_codebook() -> None:
    tokens = Tokens(torch.zeros(2, 6, 2, dtype=torch.int64), ((2, 3),), (16, 5))
    assert tokens.bits.tolist() == pytest.approx([6 * math.log2(80)] * 2)


def test_bits_follow_the_lengths() -> None:
    assert sequence(8, torch.tensor([3, 8])).bits.tolist() == [18.0, 48.0]


def test_continuous_tokens_have_no_bits() -> None:
    with pytest.raises(UsageError, match="no fixed number of bits"):
        _ = Tokens(None, ((2, 2),), latents=torch.zeros(1, 4, 3)).bits


def test_indexing_keeps_the_batch_dimension() -> None:
    tokens = grid()
    assert torch.equal(tokens[1].ids, tokens.ids[1:2])
    assert torch.equal(tokens[-1].ids, tokens.ids[2:])
    assert torch.equal(tokens[[2, 0]].ids, tokens.ids[[2, 0]])
    assert len(tokens[1:]) == 2
    with pytest.raises(IndexError):
        tokens[3]


def test_cat_undoes_indexing() -> None:
    tokens = grid()
    assert torch.equal(Tokens.cat(tokens[i] for i in range(3)).ids, tokens.ids)


def test_cat_gives_full_lengths_to_parts_without() -> None:
    both = Tokens.cat([sequence(8), sequence(8, torch.tensor([1, 2]))])
    assert both.lengths.tolist() == [8, 8, 1, 2]


@pytest.mark.parametrize("other", [grid(w=5), grid(codes=32)])
def test_cat_refuses_another_layout_or_codebook(other: Tokens) -> None:
    with pytest.raises(UsageError, match="cannot join"):
        Tokens.cat([grid(), other])


def test_truncate_keeps_a_prefix() -> None:
    short = sequence(8, torch.tensor([3, 8])).truncate(5)
    assert short.layout == ((5,),)
    assert short.lengths.tolist() == [3, 5]
    assert torch.equal(short.ids, sequence(8).ids[:, :5])


def test_truncate_refuses_grids_and_bad_counts() -> None:
    with pytest.raises(UsageError, match="only a sequence"):
        grid().truncate(2)
    with pytest.raises(UsageError, match="give 1 to 8"):
        sequence(8).truncate(9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"ids": None, "layout": ((2, 2),)},
        {"ids": torch.zeros(1, 5, dtype=torch.int64), "layout": ((2, 2),), "codebook": (4,)},
        {"ids": torch.zeros(1, 4, 2, dtype=torch.int64), "layout": ((2, 2),), "codebook": (4,)},
        {"ids": torch.zeros(1, 4), "layout": ((2, 2),), "codebook": (4,)},
        {"ids": torch.zeros(1, 4, dtype=torch.int64), "layout": ((2, 2),), "codebook": (4,), "lengths": torch.ones(2)},
        {"ids": torch.zeros(4, dtype=torch.int64), "layout": ((2, 2),), "codebook": (4,)},
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict) -> None:
    with pytest.raises(UsageError):
        Tokens(**arguments)
