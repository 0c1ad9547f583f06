"""Entropy tables: exact, close to the ideal length, safe to load."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.codec.entropy import EntropyModel, join_digits, split_digits
from zellige.codec.interlace import num_contexts, visit
from zellige.codec.tables import fit_tables
from zellige.core.errors import DataError, UsageError
from zellige.core.tokens import Layout, Tokens

from .conftest import FINGERPRINT, RADICES

Maker = Callable[..., Tokens]


def counting_tables(radices: tuple[tuple[int, ...], ...]) -> EntropyModel:
    """Tables made of whole numbers only, the same on every machine."""
    tables = []
    for radix in (k for group in radices for k in group):
        row = np.arange(num_contexts(radix))[:, None]
        table = 1 + (row * 7 + np.arange(radix) * 13) % 29
        table[:, 0] += 65536 - table.sum(1)
        tables.append(table.astype(np.uint16))
    return EntropyModel(radices, tuple(tables), FINGERPRINT, "toy")


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (6, 9), (33, 40)])
def test_grids_of_any_shape_read_back(tables: EntropyModel, smooth_tokens: Maker, shape: tuple[int, int]) -> None:
    tokens = smooth_tokens(5, *shape)
    ids = tokens.data[0].numpy()[:, None]
    assert np.array_equal(tables.decode(tables.encode(ids, tokens.layout), tokens.layout), ids)


@pytest.mark.parametrize("layout", [((11,),), ((1, 1), (2, 2), (3, 3)), ((2, 3, 4),)])
def test_other_layouts_and_random_ids_read_back(tables: EntropyModel, layout: Layout) -> None:
    count = sum(int(np.prod(block)) for block in layout)
    ids = np.random.default_rng(3).integers(0, 64000, (count, 1))
    assert np.array_equal(tables.decode(tables.encode(ids, layout), layout), ids)


def test_sub_codebooks_and_unordered_codes_read_back() -> None:
    model = counting_tables(((5, 3), (1000,)))
    ids = np.random.default_rng(4).integers(0, (15, 1000), (48, 2))
    assert model.codebook == (15, 1000)
    assert np.array_equal(model.decode(model.encode(ids, ((6, 8),)), ((6, 8),)), ids)


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """Files outlive versions: these bytes were written when the format was made."""
    model = counting_tables((RADICES,))
    ids = (np.arange(48)[:, None] * 9973 + 5) % 64000
    data = model.encode(ids, ((6, 8),))
    assert hashlib.sha256(data).hexdigest()[:16] == "8cacf64e359f607a"
    assert np.array_equal(model.decode(data, ((6, 8),)), ids)


def test_length_is_ideal_within_the_last_word_and_far_below_fixed(tables: EntropyModel, smooth_tokens: Maker) -> None:
    tokens = smooth_tokens(77, 24, 24)
    ids = tokens.data[0].numpy()[:, None]
    ideal = 0.0

    def count(plane: int, context: np.ndarray | None, digits: np.ndarray) -> None:
        nonlocal ideal
        rows = np.zeros(digits.shape, int) if context is None else context
        ideal -= np.log2(tables.tables[plane][rows, digits] / 65536).sum()

    visit(split_digits(ids[None], tables.radices, tokens.layout), RADICES, count)
    size = len(tables.encode(ids, tokens.layout))
    assert ideal / 8 - 1 <= size <= ideal / 8 + 5
    assert size < 0.8 * 2 * len(ids)


def test_tokens_unlike_those_of_the_fit_cost_little_more_than_fixed(smooth_tokens: Maker) -> None:
    """The worst case of the smoothing: tables of uniform ids, applied to others of the kind."""
    random = np.random.default_rng(6)
    draw = [Tokens(torch.from_numpy(random.integers(0, 64000, (16, 256))), ((16, 16),), (64000,)) for _ in range(9)]
    model = fit_tables(draw[:8], [RADICES], FINGERPRINT)
    ids = draw[8].data[:4].numpy().reshape(4, 256, 1)
    size = sum(len(model.encode(sample, ((16, 16),))) for sample in ids)
    assert size < 1.1 * 2 * 4 * 256


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_decode_to_valid_ids_or_an_error(tables: EntropyModel, data: bytes) -> None:
    try:
        ids = tables.decode(data, ((5, 7),))
    except DataError:
        return
    assert ids.shape == (35, 1)
    assert ids.min() >= 0
    assert ids.max() < 64000


@settings(deadline=None)
@given(st.lists(st.integers(0, 63999), min_size=12, max_size=12))
def test_digits_join_to_the_id(values: list[int]) -> None:
    ids = np.array(values).reshape(1, 12, 1)
    planes = split_digits(ids, (RADICES,), ((3, 4),))
    first = [int(plane[0, 0, 0]) for plane in planes]
    assert sum(d * int(np.prod(RADICES[:i])) for i, d in enumerate(first)) == values[0]
    assert np.array_equal(join_digits(planes, (RADICES,)), ids)


def test_tables_save_and_load(tables: EntropyModel, tmp_path: Path) -> None:
    path = tables.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["tables.safetensors"]
    again = EntropyModel.load(tmp_path)
    assert (again.radices, again.fingerprint, again.identity) == (tables.radices, FINGERPRINT, tables.identity)
    assert all(np.array_equal(a, b) for a, b in zip(again.tables, tables.tables, strict=True))
    assert path.stat().st_size < 200_000


def test_damaged_tables_are_refused(tables: EntropyModel, tmp_path: Path) -> None:
    path = tables.save(tmp_path)
    data = path.read_bytes()
    for cut in (0, 5, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match="no usable entropy tables"):
            EntropyModel.load(tmp_path)
    header = 8 + int.from_bytes(data[:8], "little")
    # The order of the texts in the header is safetensors' own, and a changed name of a tokenizer is no damage.
    for place in (0, 9, data.index(b"radices"), header, header + 1, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        with pytest.raises(DataError, match="no usable entropy tables"):
            EntropyModel.load(tmp_path)


def test_missing_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no tables\.safetensors"):
        EntropyModel.load(tmp_path)
    with pytest.raises(UsageError, match=r"has no tables\.safetensors"):
        EntropyModel.load("no-such-tokenizer")
    assert EntropyModel.find("no-such-tokenizer/f8", FINGERPRINT) is None


@pytest.mark.parametrize("name", ["../../etc", "/etc", "..", "", "a\0b", "."])
def test_a_name_from_a_file_leads_nowhere_else(name: str) -> None:
    assert EntropyModel.find(name, FINGERPRINT) is None


@pytest.mark.parametrize("radices", [((1, 8),), ((),), (), ((1 << 16,),)])
def test_digits_that_cannot_be_coded_are_refused(radices: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UsageError, match="radices are"):
        fit_tables([], radices)
