"""What a token set is: the columns of the Parquet file and the metadata that describes them.

Columns: ``key`` (unique name of the sample), ``width``, ``height`` (pixels before padding),
``layout`` (list of blocks; only where it varies by row), ``length`` (valid tokens, null for all),
``class``, ``text`` (null where the source has none), ``ids`` (little-endian, the smallest unsigned
type that holds the codebook, (N, G) in C order), ``crc_ids`` (CRC32 of them) and ``crc_row``
(CRC32 of the other columns). The file metadata has one JSON text under ``zellige``.

Everything is stored plain and uncompressed: ids do not compress, and their rows can then be read
straight from the file. Any Parquet reader can read the file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import zellige
from zellige.codec.limits import MAX_CODES, MAX_TOKENS, check_fingerprint
from zellige.core.errors import DataError, UsageError
from zellige.core.tokens import Layout, layout_size

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

METADATA_KEY = b"zellige"
FORMAT = "zellige-tokens"
VERSION = 1
NULLABLE = ("length", "class", "text")
# One page a column and row group, and its values last in it: `TokenSet` finds rows by arithmetic.
_WRITE_OPTIONS: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,
    "write_page_checksum": True,
    "data_page_size": 1 << 30,
    "write_batch_size": 1 << 20,
}


@dataclass(frozen=True)
class TokenSetInfo:
    """Whose tokens a set holds.

    Attributes:
        name: tokenizer, ``system/preset``.
        fingerprint: its weights, 16 hex digits.
        codebook: size of each sub-codebook.
        layout: of all samples; None where each row has its own.
        library: version of zellige that wrote it.
        classes: names of the labels 0, 1, … in the column ``class``; empty where they have none.
    """

    name: str
    fingerprint: str
    codebook: tuple[int, ...]
    layout: Layout | None
    library: str = zellige.__version__
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fingerprint(self.fingerprint)
        if not self.codebook or len(self.codebook) > 64 or not all(2 <= k <= MAX_CODES for k in self.codebook):
            raise UsageError(f"a codebook is 1 to 64 sizes of 2 to 2^32; got {self.codebook}")
        if self.layout is not None:
            check_layout(self.layout, len(self.codebook))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest little-endian unsigned integer that holds every id."""
        largest = max(self.codebook)
        return np.dtype("u1" if largest <= 1 << 8 else "<u2" if largest <= 1 << 16 else "<u4")

    def row_bytes(self, layout: Layout) -> int:
        """Bytes of the ids of a row."""
        return layout_size(layout) * len(self.codebook) * self.dtype.itemsize

    def takes(self, other: TokenSetInfo) -> bool:
        """Whether rows of the other set can go into this one: same tokenizer and classes, and a layout that fits."""
        mine, others = ((x.name, x.fingerprint, x.codebook, x.classes) for x in (self, other))
        return mine == others and self.layout in (None, other.layout)

    def to_json(self) -> bytes:
        """The text for the file's metadata; it ends with its own checksum."""
        fields: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "codebook": self.codebook,
            "layout": self.layout,
            "library": self.library,
            **({"classes": self.classes} if self.classes else {}),
        }
        return json.dumps({**fields, "crc32": zlib.crc32(json.dumps(fields).encode())}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> TokenSetInfo:
        """Inverse of `to_json`; `DataError` for anything else."""
        try:
            fields = json.loads(text)
            crc = fields.pop("crc32")
            if fields["format"] != FORMAT or zlib.crc32(json.dumps(fields).encode()) != crc:
                raise DataError("the description of the tokens is damaged")
            if fields["version"] != VERSION:
                raise DataError(f"format version {fields['version']} is not known here; a newer zellige may read it")
            layout = fields["layout"]
            return cls(
                name=str(fields["name"]),
                fingerprint=str(fields["fingerprint"]),
                codebook=tuple(int(k) for k in fields["codebook"]),
                layout=None if layout is None else as_layout(layout),
                library=str(fields["library"]),
                classes=tuple(str(name) for name in fields.get("classes", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
            raise DataError(f"the description of the tokens is damaged ({error})") from error


def as_layout(value: Sequence[Sequence[int]]) -> Layout:
    """A layout read from a file, as tuples."""
    return tuple(tuple(int(n) for n in block) for block in value)


def check_layout(layout: Layout, groups: int) -> None:
    """`UsageError` for an empty or oversized layout; Python integers, so products cannot overflow."""
    blocks = len(layout) > 0 and all(block and len(block) <= 4 and all(n >= 1 for n in block) for block in layout)
    if not blocks or len(layout) > 64 or layout_size(layout) * groups > MAX_TOKENS:
        raise UsageError(f"a layout is 1 to 64 blocks with at most {MAX_TOKENS:,} ids in all; got {layout}")


def arrow_schema(info: TokenSetInfo) -> pa.Schema:
    """Columns of a token set. ``ids`` has a fixed size if all rows have one layout."""
    import pyarrow as pa

    types = {
        "key": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "layout": pa.list_(pa.list_(pa.int32())),
        "length": pa.int32(),
        "class": pa.int64(),
        "text": pa.string(),
        "ids": pa.binary(-1 if info.layout is None else info.row_bytes(info.layout)),
        "crc_ids": pa.uint32(),
        "crc_row": pa.uint32(),
    }
    if info.layout is not None:
        del types["layout"]
    return pa.schema([pa.field(name, kind, nullable=name in NULLABLE) for name, kind in types.items()])


@contextmanager
def parquet_writer(path: Path, info: TokenSetInfo) -> Iterator[pq.ParquetWriter]:
    """A writer of tables of `arrow_schema`, for a file that describes itself."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, arrow_schema(info), **_WRITE_OPTIONS) as writer:
        writer.add_key_value_metadata({METADATA_KEY: info.to_json()})
        yield writer


def arrow_table(rows: Sequence[dict[str, Any]], info: TokenSetInfo) -> pa.Table:
    """Rows as a table with their checksums. `rows` have all columns of `arrow_schema` but those."""
    import pyarrow as pa

    sums = ({"crc_ids": zlib.crc32(row["ids"]), "crc_row": row_crc(row, info)} for row in rows)
    return pa.Table.from_pylist([{**row, **crcs} for row, crcs in zip(rows, sums, strict=True)], arrow_schema(info))


def row_crc(row: dict[str, Any], info: TokenSetInfo) -> int:
    """CRC32 of all columns of a row but the ids and the checksums."""
    names = ("key", "width", "height", "length", "class", "text", *(() if info.layout else ("layout",)))
    return zlib.crc32(json.dumps([row[name] for name in names], separators=(",", ":")).encode())
