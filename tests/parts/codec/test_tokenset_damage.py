"""Damaged Parquet token sets: the right rows or an error of one line."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from zellige.codec import TokenSet, TokenSetInfo, TokenSetWriter
from zellige.codec.schema import arrow_table, parquet_writer
from zellige.core.errors import DataError, UsageError
from zellige.core.tokens import Tokens

from .conftest import FINGERPRINT


def small_set(path: Path, mixed: bool) -> bytes:
    writer = TokenSetWriter(path, name="toy/f8", fingerprint=FINGERPRINT, codebook=(64000,), rows_per_part=2)
    for i in range(2):
        layout = ((1, 6),) if mixed and i else ((2, 3),)
        ids = (torch.arange(6)[None] * 9973 + i * 31) % 64000
        text = "a cat" if i else None
        writer.append([f"k{i}"], Tokens(ids, layout, (64000,)), [(128, 120 + i)], classes=[i], texts=[text])
    return writer.finish().read_bytes()


def content(path: Path) -> list[Any]:
    found = TokenSet(path)
    rows: list[Any] = [found.info, len(found), *found.keys()]
    if found.info.layout is not None:
        rows += found.tokens([1, 0]).data.tolist()
    for batch in found.batches(2):
        facts = (batch.keys, batch.sizes, batch.classes, batch.texts)
        rows.append((facts, batch.tokens.layout, batch.tokens.data.tolist()))
    return rows


def check(path: Path, data: bytes, right: list[Any]) -> str:
    path.unlink()  # a new file: overwriting one makes some file systems flush it
    path.write_bytes(data)
    try:
        found = content(path)
    except (DataError, UsageError) as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        return "error"
    assert found == right
    return "right"


@pytest.mark.parametrize("mixed", [False, True])
def test_every_flipped_byte_and_every_truncation(tmp_path: Path, mixed: bool) -> None:
    path = tmp_path / "set.parquet"
    data = small_set(path, mixed)
    right = content(path)
    results = []
    for place in range(len(data)):
        for mask in {1 << place % 8, 1 << place % 8 if mixed else 0xFF}:
            flipped = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
            results.append(check(path, flipped, right))
    assert results.count("error") > len(results) // 2
    for length in range(0, len(data), 3 if mixed else 1):
        assert check(path, data[:length], right) == "error"


INFO = TokenSetInfo("toy/f8", FINGERPRINT, (100,), None)
ROW = {
    "key": "a",
    "width": 8,
    "height": 8,
    "layout": [[2, 2]],
    "length": None,
    "class": None,
    "text": None,
    "ids": b"\1\2\3\4",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": b"\1\2\3\xc8"}, "outside the codebook"),
        ({"ids": b"\1\2\3"}, "3 bytes of ids"),
        ({"layout": [[1 << 30, 1 << 30]]}, "a layout is"),
        ({"layout": [[-2, -2]]}, "a layout is"),
        ({"layout": []}, "a layout is"),
        ({"layout": [[None, 4]]}, "row 'a'"),
        ({"layout": [[0, 4]]}, "a layout is"),
        ({"length": 5}, "claims more than its 4"),
        ({"length": -7}, "claims more than its 4"),
        ({"width": 0}, "'a'"),
        ({"height": -1}, "'a'"),
    ],
)
def test_rows_with_true_checksums_and_false_content(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.parquet"
    with parquet_writer(path, INFO) as out:
        out.write_table(arrow_table([{**ROW, **change}], INFO))
    for read in (lambda s: s.tokens([0]), lambda s: list(s.batches(1))):
        with pytest.raises(DataError, match=message):
            read(TokenSet(path))


def test_a_mapped_row_is_checked_when_first_read(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    data = bytearray(small_set(path, mixed=False))
    ids = TokenSet(path).tokens([1]).data.to(torch.uint16).numpy().tobytes()
    data[data.index(ids)] ^= 1
    path.write_bytes(data)
    damaged = TokenSet(path)
    assert len(damaged.tokens([0, 0])) == 2
    for _ in range(2):
        with pytest.raises(DataError, match="row 1 has a wrong checksum"):
            damaged.tokens([1])


def edited(edit: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        table = pq.read_table(path)
        pq.write_table(edit(table).replace_schema_metadata(table.schema.metadata), path)

    return rewrite


def null_ids(table: pa.Table) -> pa.Table:
    place = table.column_names.index("ids")
    return table.set_column(place, "ids", pa.nulls(len(table), table.schema.field("ids").type))


@pytest.mark.parametrize(
    "rewrite",
    [
        edited(lambda table: table.drop_columns(["width"])),
        edited(lambda table: table.append_column("more", table.column("key"))),
        edited(lambda table: table.rename_columns([name.upper() for name in table.column_names])),
        edited(null_ids),
    ],
)
def test_columns_that_are_not_those_of_a_set(tmp_path: Path, rewrite: Callable[[Path], None]) -> None:
    path = tmp_path / "set.parquet"
    small_set(path, mixed=False)
    rewrite(path)
    with pytest.raises(DataError, match=r"set\.parquet"):
        list(TokenSet(path).batches(4))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        INFO.to_json().replace(b'"version": 1', b'"version": 2'),
        INFO.to_json().replace(b"100", b"200"),
        INFO.to_json()[:-1] + b', "more": 1}',
    ],
)
def test_a_damaged_description(text: bytes) -> None:
    with pytest.raises(DataError, match="description of the tokens"):
        TokenSetInfo.from_json(text)


@pytest.mark.parametrize(("old", "new"), [(b'"version": 1', b'"version": 2'), (b"[100]", b"[1]"), (b"[100]", b'"ab"')])
def test_a_description_with_a_true_checksum_and_false_content(old: bytes, new: bytes) -> None:
    body = INFO.to_json()[: INFO.to_json().rindex(b', "crc32"')].replace(old, new) + b"}"
    text = body[:-1] + b', "crc32": %d}' % zlib.crc32(body)
    with pytest.raises(DataError, match=r"damaged|version 2"):
        TokenSetInfo.from_json(text)
