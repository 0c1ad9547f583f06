"""Damaged and malicious `.zel` files: an error of one line or the right image, soon and in little memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.codec import EncodedImage, EntropyModel, dumps, loads
from zellige.codec.bits import varint
from zellige.core.errors import DataError, UsageError, ZelligeError

from .conftest import FINGERPRINT

Images = Callable[..., EncodedImage]


def signed(body: bytes) -> bytes:
    """A body with the checksum that a forger would add."""
    return body + zlib.crc32(body).to_bytes(4, "big")


def forged(*numbers: int, coding: int = 0, payload: bytes = b"") -> bytes:
    """A file with a true checksum and whatever numbers after the fingerprint."""
    head = b"\x89ZEL" + bytes((1, coding)) + b"\x03toy" + bytes.fromhex(FINGERPRINT)
    return signed(head + b"".join(map(varint, numbers)) + varint(len(payload)) + payload)


def check_survives(data: bytes, tables: EntropyModel) -> None:
    """Reading gives valid tokens or one line; anything else escapes and fails the test."""
    try:
        found = loads(data, tables)
    except ZelligeError as error:
        assert "\n" not in str(error)
        return
    ids = found.tokens.data
    assert ids.min() >= 0
    assert (ids < torch.tensor(found.tokens.codebook)).all()
    assert ids.numel() <= 4 * found.width * found.height + 4096


@pytest.mark.parametrize("coding", ["fixed", "entropy"])
def test_every_truncation_is_found(image: Images, tables: EntropyModel, coding: str) -> None:
    data = dumps(image(), tables, coding)
    for length in range(len(data)):
        with pytest.raises(DataError):
            loads(data[:length], tables)
    with pytest.raises(DataError):
        loads(data + b"\0", tables)


@pytest.mark.parametrize("coding", ["fixed", "entropy"])
def test_every_flipped_bit_is_found(image: Images, tables: EntropyModel, coding: str) -> None:
    data = dumps(image(), tables, coding)
    for place in range(len(data)):
        for bit in range(8):
            with pytest.raises(DataError):
                loads(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :], tables)


@pytest.mark.parametrize("coding", ["fixed", "entropy"])
def test_every_changed_byte_with_a_true_checksum_is_harmless(image: Images, tables: EntropyModel, coding: str) -> None:
    body = dumps(image(2, 3), tables, coding)[:-4]
    for place in range(len(body)):
        for value in {0, 127, 255, *(body[place] ^ 1 << bit for bit in range(8))} - {body[place]}:
            check_survives(signed(body[:place] + bytes([value]) + body[place + 1 :]), tables)
        check_survives(signed(body[:place]), tables)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=120), coding=st.integers(0, 2))
def test_any_bytes_after_the_magic_are_harmless(tables: EntropyModel, body: bytes, coding: int) -> None:
    check_survives(signed(b"\x89ZEL" + bytes((1, coding)) + body), tables)
    check_survives(body, tables)


@settings(max_examples=200, deadline=None)
@given(
    numbers=st.lists(st.one_of(st.integers(0, 8), st.integers(0, 2**35 - 1)), max_size=12),
    payload=st.binary(max_size=40),
    coding=st.integers(0, 1),
)
def test_any_header_with_a_true_checksum_is_harmless(
    tables: EntropyModel, numbers: list[int], payload: bytes, coding: int
) -> None:
    check_survives(forged(*numbers, coding=coding, payload=payload), tables)


HUGE = (1 << 20, 1 << 20)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((*HUGE, 1, 2, 1 << 24, 1 << 24, 1, 64000), "too many"),
        ((*HUGE, 1, 4, *[1 << 24] * 4, 1, 64000), "too many"),
        ((*HUGE, 1, 1, 1 << 24, 1, 64000), "need 33,554,432 bytes"),
        ((*HUGE, 1, 1, 1 << 24, 2, 4, 4), "too many"),
        ((*HUGE, 1, 1, 1 << 24, 1, 1), "codebook size of 1"),
        ((*HUGE, 1, 1, 4, 1, 1 << 33), "codebook size"),
        ((*HUGE, 1 << 30), "blocks of the layout"),
        ((*HUGE, 1, 1 << 30), "dimensions"),
        ((*HUGE, 1, 1, 1, 1 << 30), "sub-codebooks"),
        ((8, 8, 1, 2, 128, 128, 1, 64000), "too many"),
        ((1 << 21, 8), "width"),
        ((8, 0), "height"),
    ],
)
def test_sizes_are_bounded_before_anything_is_allocated(numbers: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        loads(forged(*numbers))


def test_a_few_entropy_coded_bytes_cannot_claim_millions_of_tokens(tables: EntropyModel) -> None:
    payload = tables.identity.to_bytes(4, "big") + bytes(100)
    with pytest.raises(DataError, match="cannot hold"):
        loads(forged(*HUGE, 1, 2, 4096, 4096, 1, 64000, coding=1, payload=payload), tables)


def test_a_payload_length_beyond_the_file_is_found() -> None:
    body = forged(8, 8, 1, 1, 1, 1, 64000)[:-5] + varint(1 << 27)
    with pytest.raises(DataError, match="ends too early"):
        loads(signed(body))


def test_newer_versions_and_unknown_codings_are_named(image: Images) -> None:
    body = bytearray(dumps(image())[:-4])
    body[4] = 2
    with pytest.raises(DataError, match="version 2"):
        loads(signed(bytes(body)))
    with pytest.raises(DataError, match="coding 7"):
        loads(signed(bytes(body[:4]) + b"\x01\x07" + bytes(body[6:])))


def test_ids_beyond_the_codebook_are_found() -> None:
    with pytest.raises(DataError, match="outside the codebook"):
        loads(forged(8, 8, 1, 1, 1, 1, 64000, payload=b"\xff\xff"))


def test_entropy_tables_of_another_codebook_are_not_used(tables: EntropyModel) -> None:
    payload = tables.identity.to_bytes(4, "big") + bytes(8)
    with pytest.raises(UsageError, match="other entropy tables"):
        loads(forged(8, 8, 1, 1, 1, 1, 4096, coding=1, payload=payload), tables)
