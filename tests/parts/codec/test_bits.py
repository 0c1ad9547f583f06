"""Bit packing against Python's own big integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.codec import bits
from zellige.core.errors import DataError


@settings(deadline=None)
@given(st.integers(1, 32).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1), max_size=40))))
def test_pack_is_the_bit_string_of_the_values(case: tuple[int, list[int]]) -> None:
    width, values = case
    text = "".join(f"{value:0{width}b}" for value in values)
    text += "0" * (-len(text) % 8)
    expected = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
    packed = bits.pack(np.array(values, np.int64), width)
    assert packed == expected
    assert len(packed) == bits.packed_bytes(len(values), width)
    assert bits.unpack(packed, len(values), width).tolist() == values


@pytest.mark.parametrize("width", [3, 12, 16])
def test_blocks_join_without_a_gap(width: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << width, (1 << 16) + 13)
    packed = bits.pack(values, width)
    assert len(packed) == bits.packed_bytes(len(values), width)
    assert np.array_equal(bits.unpack(packed, len(values), width), values)


@pytest.mark.parametrize(("size", "width"), [(2, 1), (3, 2), (256, 8), (257, 9), (64000, 16), (1 << 32, 32)])
def test_bit_width_is_the_logarithm_rounded_up(size: int, width: int) -> None:
    assert bits.bit_width(size) == width


@settings(deadline=None)
@given(st.integers(0, 2**35 - 1))
def test_varints_read_back(value: int) -> None:
    cursor = bits.Cursor(bits.varint(value) + b"rest")
    assert cursor.varint(0, 2**35, "a number") == value
    assert cursor.take(4) == b"rest"


def test_a_cursor_never_reads_past_the_end() -> None:
    with pytest.raises(DataError, match="ends too early"):
        bits.Cursor(b"abc").take(4)
    with pytest.raises(DataError, match="ends too early"):
        bits.Cursor(b"\x80\x80").varint(0, 9, "a number")


def test_an_endless_or_too_large_varint_is_refused() -> None:
    with pytest.raises(DataError, match="width of"):
        bits.Cursor(b"\xff" * 9).varint(1, 1000, "width")
