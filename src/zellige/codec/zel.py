"""`.zel`: one image as tokens.

    magic 4 · version 1 · coding 1 · tokenizer name · fingerprint 8 · width · height · layout ·
    codebook · payload length · payload · CRC32 of all before it, 4 bytes

Numbers are varints, names and lists start with their length. The payload is the ids packed at
⌈log2 K⌉ bits, most significant bit first, or 4 bytes that identify the entropy tables and the
range-coded ids. Nothing in a file is trusted: sizes are bounded before anything is allocated.

Legend: N tokens, G sub-codebooks, K codes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zellige.codec import bits
from zellige.codec.entropy import EntropyModel, Tables, tables_for
from zellige.codec.limits import MAX_CODES, MAX_TOKENS, check_fingerprint
from zellige.core.errors import DataError, UsageError
from zellige.core.files import read_file, replacing
from zellige.core.tokens import Layout, Tokens, layout_size

MAGIC = b"\x89ZEL"
VERSION = 1
CODINGS = ("fixed", "entropy")
_MAX_SIDE = 1 << 20
_MAX_BYTES = 1 << 28
# Tables can make a token cost next to nothing, so a few bytes could claim millions of tokens. Real
# images stay far below this many tokens a byte; the writer falls back to "fixed" beyond it.
_TOKENS_A_BYTE = 1024


@dataclass(frozen=True)
class EncodedImage:
    """An image as tokens, with what decoding needs to know.

    Attributes:
        tokens: ids of a batch of one.
        width, height: pixels of the original image, before it was padded.
        tokenizer: name of the tokenizer, ``system/preset``.
        fingerprint: its weights, 16 hex digits.
        coding: how the file it came from was coded, ``fixed`` or ``entropy``; empty for new tokens.
    """

    tokens: Tokens
    width: int
    height: int
    tokenizer: str
    fingerprint: str
    coding: str = ""


@dataclass(frozen=True)
class _Header:
    coding: str
    tokenizer: str
    fingerprint: str
    width: int
    height: int
    layout: Layout
    codebook: tuple[int, ...]
    payload: bytes

    @property
    def count(self) -> int:
        return layout_size(self.layout)

    @property
    def fixed_bytes(self) -> int:
        return sum(bits.packed_bytes(self.count, bits.bit_width(k)) for k in self.codebook)


def dumps(image: EncodedImage, model: Tables = None, coding: str = "auto") -> bytes:
    """The bytes of a `.zel` file.

    Args:
        image: tokens of one image. Where `tokens.lengths` is set, only the valid tokens are kept.
        model: entropy tables, a function (tokenizer, fingerprint) that finds them, or None for the
            bundled ones.
        coding: ``fixed``, ``entropy``, or ``auto``, the smaller. Without tables it is ``fixed``.

    Raises:
        UsageError: for continuous tokens, a batch of several, ids outside the codebook, or sizes
            beyond the limits of the format.
    """
    if coding not in ("auto", *CODINGS):
        raise UsageError(f"unknown coding '{coding}'; it is one of auto, {', '.join(CODINGS)}")
    ids, layout = _valid_ids(image.tokens)
    codebook = image.tokens.codebook
    payloads = {"fixed": b"".join(bits.pack(ids[:, g], bits.bit_width(k)) for g, k in enumerate(codebook))}
    tables = tables_for(model, image.tokenizer, image.fingerprint) if coding != "fixed" else None
    if tables is not None:
        if (tables.codebook, tables.fingerprint) != (codebook, image.fingerprint):
            raise UsageError(f"the entropy tables of {tables.tokenizer} are not those of {image.tokenizer}")
        payload = tables.identity.to_bytes(4, "big") + tables.encode(ids, layout)
        if len(ids) <= len(payload) * _TOKENS_A_BYTE:
            payloads["entropy"] = payload
    chosen = coding if coding in payloads else min(payloads, key=lambda name: len(payloads[name]))
    data = _header(image, layout, chosen) + bits.varint(len(payloads[chosen])) + payloads[chosen]
    data += zlib.crc32(data).to_bytes(4, "big")
    try:
        _parse(data)
    except DataError as error:
        raise UsageError(f"this image does not fit a .zel file: {error}") from error
    return data


def loads(data: bytes, model: Tables = None) -> EncodedImage:
    """The image in the bytes of a `.zel` file; `model` as for `dumps`.

    Raises:
        DataError: for bytes that are no `.zel` file, or a damaged one.
        UsageError: if the file needs entropy tables that are not at hand.
    """
    header = _parse(data)
    if header.coding == "fixed":
        ids = _unpack(header)
    else:
        ids = _require_tables(header, model).decode(header.payload[4:], header.layout)
    if (ids >= np.array(header.codebook)).any():
        raise DataError("an id is outside the codebook: the file is damaged")
    shape = (1, -1) if len(header.codebook) == 1 else (1, header.count, -1)
    tokens = Tokens(torch.from_numpy(ids.reshape(shape)), header.layout, header.codebook)
    return EncodedImage(tokens, header.width, header.height, header.tokenizer, header.fingerprint, header.coding)


def write_zel(path: str | Path, image: EncodedImage, model: Tables = None, coding: str = "auto") -> int:
    """Write a `.zel` file, whole or not at all; arguments as for `dumps`. Returns its size in bytes."""
    data = dumps(image, model, coding)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read_zel(path: str | Path, model: Tables = None) -> EncodedImage:
    """Read a `.zel` file; `model` and errors as for `loads`, with the path in the text."""
    data = read_file(Path(path), _MAX_BYTES)
    try:
        return loads(data, model)
    except (DataError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from error


def info_zel(path: str | Path) -> dict[str, Any]:
    """What the header of a `.zel` file says, JSON-ready, with byte counts and bits per pixel; needs no tables."""
    data = read_file(Path(path), _MAX_BYTES)
    try:
        header = _parse(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return {
        "format": "zel",
        "version": VERSION,
        "tokenizer": header.tokenizer,
        "fingerprint": header.fingerprint,
        "width": header.width,
        "height": header.height,
        "layout": [list(block) for block in header.layout],
        "codebook": list(header.codebook),
        "tokens": header.count,
        "coding": header.coding,
        "bytes": len(data),
        "header_bytes": len(data) - len(header.payload),
        "payload_bytes": len(header.payload),
        "fixed_payload_bytes": header.fixed_bytes,
        "bits_per_pixel": 8 * len(data) / (header.width * header.height),
    }


def _valid_ids(tokens: Tokens) -> tuple[np.ndarray, Layout]:
    """Ids int64 (N, G) of the one sample, and their layout, cut to `lengths`."""
    if tokens.ids is None:
        raise UsageError("a .zel file holds ids; these tokens are continuous")
    if len(tokens) != 1:
        raise UsageError(f"a .zel file holds one image; these are the tokens of {len(tokens)}")
    if tokens.lengths is not None and int(tokens.lengths[0]) < tokens.num_tokens:
        tokens = tokens.truncate(int(tokens.lengths[0]))
    assert tokens.ids is not None
    ids = tokens.ids[0].to("cpu", torch.int64).numpy().reshape(tokens.num_tokens, -1)
    if (ids < 0).any() or (ids >= np.array(tokens.codebook)).any():
        raise UsageError(f"an id is outside the codebook {tokens.codebook}")
    return ids, tokens.layout


def _header(image: EncodedImage, layout: Layout, coding: str) -> bytes:
    name = image.tokenizer.encode()
    check_fingerprint(image.fingerprint)
    numbers = [image.width, image.height, len(layout)]
    for block in layout:
        numbers += [len(block), *block]
    numbers += [len(image.tokens.codebook), *image.tokens.codebook]
    return b"".join(
        (
            MAGIC,
            bytes((VERSION, CODINGS.index(coding))),
            bits.varint(len(name)),
            name,
            bytes.fromhex(image.fingerprint),
            *map(bits.varint, numbers),
        )
    )


def _parse(data: bytes) -> _Header:
    """Check and take apart a whole file, except for the ids in its payload."""
    if data[:4] != MAGIC:
        raise DataError("not a .zel file")
    if len(data) < 10 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise DataError("the checksum is wrong: the file is truncated or damaged")
    cursor = bits.Cursor(data[4:-4])
    version, coding = cursor.take(2)
    if version != VERSION:
        raise DataError(f"format version {version} is not known here; a newer zellige may read it")
    if coding >= len(CODINGS):
        raise DataError(f"coding {coding} is not known: the file is damaged")
    try:
        tokenizer = cursor.take(cursor.varint(1, 255, "the length of the name")).decode()
    except UnicodeDecodeError as error:
        raise DataError("the name of the tokenizer is no text: the file is damaged") from error
    if not tokenizer.isprintable():
        raise DataError("the name of the tokenizer is no printable text: the file is damaged")
    fingerprint = cursor.take(8).hex()
    width, height = (cursor.varint(1, _MAX_SIDE, side) for side in ("width", "height"))
    layout = tuple(
        tuple(cursor.varint(1, MAX_TOKENS, "a side of the layout") for _ in range(cursor.varint(1, 4, "dimensions")))
        for _ in range(cursor.varint(1, 64, "blocks of the layout"))
    )
    codebook = tuple(
        cursor.varint(2, MAX_CODES, "a codebook size") for _ in range(cursor.varint(1, 64, "sub-codebooks"))
    )
    tokens = layout_size(layout)
    # A tokenizer has at most a few tokens a pixel, or a fixed number that small images need too.
    if tokens * len(codebook) > MAX_TOKENS or tokens > 4 * width * height + 4096:
        raise DataError(f"{tokens:,} tokens are too many for {width}×{height} pixels: the file is damaged")
    length = cursor.varint(0, _MAX_BYTES, "the length of the payload")
    payload = cursor.take(length)
    if cursor.position != len(data) - 8:
        raise DataError("there are bytes after the payload: the file is damaged")
    name = CODINGS[coding]
    header = _Header(name, tokenizer, fingerprint, width, height, layout, codebook, payload)
    if name == "fixed" and length != header.fixed_bytes:
        raise DataError(f"{tokens:,} tokens need {header.fixed_bytes:,} bytes; the payload has {length:,}")
    if name == "entropy" and (length < 4 or tokens > length * _TOKENS_A_BYTE):
        raise DataError(f"a payload of {length:,} bytes cannot hold {tokens:,} tokens: the file is damaged")
    return header


def _unpack(header: _Header) -> np.ndarray:
    """Ids int64 (N, G) of a payload of fixed length: one bit string a sub-codebook."""
    groups, start = [], 0
    for size in header.codebook:
        width = bits.bit_width(size)
        stop = start + bits.packed_bytes(header.count, width)
        groups.append(bits.unpack(header.payload[start:stop], header.count, width))
        start = stop
    return np.stack(groups, axis=-1)


def _require_tables(header: _Header, model: Tables) -> EntropyModel:
    """The tables that the payload was coded with."""
    tables = tables_for(model, header.tokenizer, header.fingerprint)
    if tables is None:
        raise UsageError(
            f"coded with the entropy tables of {header.tokenizer} (weights {header.fingerprint}), which are not "
            "at hand: name the folder of that tokenizer"
        )
    if tables.codebook != header.codebook or tables.identity != int.from_bytes(header.payload[:4], "big"):
        raise UsageError(f"coded with other entropy tables than those of {tables.tokenizer} at hand")
    return tables
