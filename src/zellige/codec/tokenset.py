"""`TokenSet`: reads a token set, random rows or all of them, without holding it in memory.

Legend: B samples, N tokens, G sub-codebooks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zellige.codec.parquet import arrow_errors, open_parquet
from zellige.codec.schema import METADATA_KEY, NULLABLE, TokenSetInfo, arrow_schema, as_layout, check_layout, row_crc
from zellige.core.errors import DataError, UsageError
from zellige.core.tokens import Layout, Tokens, layout_size

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_GROUP_BYTES = 1 << 31
_PAGE_HEADER = 128  # bytes of a page header at most: more before the values means several pages


@dataclass(frozen=True)
class TokenBatch:
    """Rows of a token set that share a layout.

    Attributes:
        keys: name of each sample.
        tokens: their ids.
        sizes: (width, height) of each image before padding.
        classes, texts: labels and captions; None where a sample has none.
    """

    keys: list[str]
    tokens: Tokens
    sizes: list[tuple[int, int]]
    classes: list[int | None]
    texts: list[str | None]


class TokenSet:
    """A token set in a Parquet file.

    Attributes:
        path: the file.
        info: whose tokens they are.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a set and check its description.

        Raises:
            UsageError: if the file is missing or is no token set.
            DataError: if it is damaged.
        """
        self.path = Path(path)
        self._file = open_parquet(self.path)
        metadata = (self._file.metadata.metadata or {}).get(METADATA_KEY)
        if metadata is None:
            raise UsageError(
                f"{self.path} is a Parquet file, but no token set: it lacks the '{METADATA_KEY.decode()}' text"
            )
        try:
            self.info = TokenSetInfo.from_json(metadata)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        columns, expected = self._file.schema_arrow, arrow_schema(self.info)
        if (columns.names, columns.types) != (expected.names, expected.types):
            raise self._damaged("its columns are not those of a token set")
        groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        rows = [group.num_rows for group in groups]
        # A row takes some bytes of the file, whatever the footer claims.
        possible = self.path.stat().st_size // 8
        if min(rows, default=0) < 0 or sum(rows) != self._file.metadata.num_rows or sum(rows) > possible:
            raise self._damaged("its row counts are impossible")
        self._starts = np.concatenate(([0], np.cumsum(rows, dtype=np.int64)))
        self._checked = np.zeros(len(self), bool)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __reduce__(self) -> tuple[type[TokenSet], tuple[Path]]:
        """Workers of a data loader open the file themselves."""
        return TokenSet, (self.path,)

    def __repr__(self) -> str:
        return f"TokenSet({str(self.path)!r}, rows={len(self)}, tokenizer={self.info.name!r})"

    def tokens(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> Tokens:
        """Tokens of some rows, in the order given; the rows have one layout.

        Raises:
            UsageError: for rows of different layouts, or none.
            IndexError: for a row that is not there.
            DataError: if a row is damaged.
        """
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        if not rows.size:
            raise UsageError("no rows asked for")
        if rows.min() < -len(self) or rows.max() >= len(self):
            raise IndexError(f"row {rows.max() if rows.max() >= len(self) else rows.min()} of {len(self)}")
        rows = np.where(rows < 0, rows + len(self), rows)
        if self._direct is not None and self.info.layout is not None:
            return self._gather(rows, self.info.layout)
        found: list[dict[str, Any] | None] = [None] * len(rows)
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        for group in np.unique(groups):
            where = np.flatnonzero(groups == group)
            picked = self._table(int(group)).take(rows[where] - self._starts[group])
            for position, row in zip(where, self._rows(picked), strict=True):
                found[position] = row
        return self._to_tokens([row for row in found if row is not None])

    def sample(self, batch: int, generator: torch.Generator | None = None) -> Tokens:
        """Tokens of `batch` random rows, drawn with replacement."""
        if not len(self):
            raise UsageError(f"{self.path} has no rows to draw from")
        return self.tokens(torch.randint(len(self), (batch,), generator=generator))

    def batches(self, size: int) -> Iterator[TokenBatch]:
        """All rows, in order within a layout, in batches of at most `size` that share a layout.

        Memory is that of one row group.
        """
        for rows in self.records():
            for _, same in groupby(sorted(rows, key=_layout_of), key=_layout_of):
                alike = list(same)
                for start in range(0, len(alike), size):
                    part = alike[start : start + size]
                    yield TokenBatch(
                        keys=[row["key"] for row in part],
                        tokens=self._to_tokens(part),
                        sizes=[(row["width"], row["height"]) for row in part],
                        classes=[row["class"] for row in part],
                        texts=[row["text"] for row in part],
                    )

    @cached_property
    def labels(self) -> np.ndarray:
        """Class of each row, int64; -1 where it has none. 8 bytes a row, read when first asked for."""
        columns = [
            self._table(group, ["class"]).column("class").fill_null(-1) for group in range(len(self._starts) - 1)
        ]
        return np.concatenate([np.zeros(0, np.int64), *(column.to_numpy() for column in columns)])

    def texts(self, indices: Sequence[int] | np.ndarray) -> list[str | None]:
        """Captions of some rows, in the order given; the row groups that hold them are read."""
        rows = np.asarray(indices, np.int64)
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        found: list[str | None] = [None] * len(rows)
        for group in np.unique(groups):
            where = np.flatnonzero(groups == group)
            picked = self._table(int(group), ["text"]).column("text").take(rows[where] - self._starts[group])
            for position, text in zip(where, picked.to_pylist(), strict=True):
                found[position] = text
        return found

    def any_text(self) -> bool:
        """Whether a row has a caption; reads row groups until there is one."""
        return any(
            text for group in range(len(self._starts) - 1) for text in self._table(group, ["text"])["text"].to_pylist()
        )

    def keys(self) -> Iterator[str]:
        """Names of all samples, in order."""
        for group in range(self._file.num_row_groups):
            yield from self._table(group, ["key"]).column("key").to_pylist()

    def images(self) -> Iterator[tuple[str, int, int]]:
        """Name, width and height before padding of all samples, in order; no ids are read."""
        for group in range(self._file.num_row_groups):
            columns = self._table(group, ["key", "width", "height"]).to_pydict()
            yield from zip(columns["key"], columns["width"], columns["height"], strict=True)

    def layouts(self) -> set[Layout]:
        """The layouts that occur in the set."""
        if self.info.layout is not None:
            return {self.info.layout}
        return {row["layout"] for rows in self.records() for row in rows}

    def records(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of each row group as dictionaries by column, every row checked; ``layout`` is always there."""
        for group in range(self._file.num_row_groups):
            yield list(self._rows(self._table(group)))

    def describe(self) -> dict[str, Any]:
        """What the file says of itself, JSON-ready; reads no rows."""
        return {
            "format": "token set",
            "tokenizer": self.info.name,
            "fingerprint": self.info.fingerprint,
            "codebook": list(self.info.codebook),
            "layout": None if self.info.layout is None else [list(block) for block in self.info.layout],
            "library": self.info.library,
            "rows": len(self),
            "bytes": self.path.stat().st_size,
        }

    @cached_property
    def _direct(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows of ids straight from the mapped file: a view (bytes, row bytes) and each group's first byte.

        None unless every group keeps its ids in one plain, uncompressed page, as our writer makes
        it: a page is a short header and then the values, so their place follows from its end. The
        checksums of the first rows tell whether that is so. (Arrow also names the encodings, but
        aborts the process over a damaged name.)
        """
        if self.info.layout is None or not len(self):
            return None
        width = self.info.row_bytes(self.info.layout)
        column = arrow_schema(self.info).get_field_index("ids")
        raw = np.memmap(self.path, np.uint8, mode="r")
        firsts = []
        for i, start in enumerate(self._starts[:-1]):
            group = self._file.metadata.row_group(i)
            chunk = group.column(column)
            end = chunk.data_page_offset + chunk.total_compressed_size
            first = end - group.num_rows * width
            if not 0 < first - chunk.data_page_offset <= _PAGE_HEADER or end > len(raw):
                return None
            if group.num_rows and zlib.crc32(raw[first : first + width].tobytes()) != self._checksums[0][start]:
                return None
            firsts.append(first)
        return np.lib.stride_tricks.sliding_window_view(raw, width), np.array(firsts, np.int64)

    def _gather(self, rows: np.ndarray, layout: Layout) -> Tokens:
        """Tokens of rows by address in the mapped file. A row is checked when it is first read."""
        assert self._direct is not None
        windows, firsts = self._direct
        group = np.searchsorted(self._starts, rows, side="right") - 1
        data = windows[firsts[group] + (rows - self._starts[group]) * windows.shape[1]]
        ids = data.view(self.info.dtype).reshape(len(rows), layout_size(layout), -1)
        new = np.flatnonzero(~self._checked[rows])
        if new.size:
            for i in new:
                if zlib.crc32(data[i]) != self._checksums[0][rows[i]]:
                    raise self._damaged(f"row {rows[i]} has a wrong checksum")
            if (ids[new] >= np.array(self.info.codebook)).any():
                raise self._damaged("an id is outside the codebook")
            self._checked[rows] = True
        return self._pack(ids, layout, self._checksums[1][rows])

    @cached_property
    def _checksums(self) -> tuple[np.ndarray, np.ndarray]:
        """`crc_ids` uint32 and `length` int32 (-1 for all tokens) of all rows: 8 bytes a row."""
        tables = [self._table(g, ["crc_ids", "length"]) for g in range(self._file.num_row_groups)]
        crcs = np.concatenate([t.column("crc_ids").to_numpy() for t in tables])
        lengths = np.concatenate([t.column("length").fill_null(-1).to_numpy() for t in tables])
        return crcs, lengths

    def _table(self, group: int, columns: list[str] | None = None) -> pa.Table:
        """One row group; `DataError` if Arrow cannot read it."""
        metadata = self._file.metadata.row_group(group)
        if metadata.total_byte_size > _MAX_GROUP_BYTES:
            raise self._damaged(f"row group {group} claims {metadata.total_byte_size:,} bytes")
        with arrow_errors(self.path):
            table = self._file.read_row_group(group, columns=columns, use_threads=False)
            table.validate(full=True)
        if len(table) != metadata.num_rows:
            raise self._damaged(f"row group {group} has {len(table)} rows, not {metadata.num_rows}")
        for name in table.column_names:
            if table.column(name).null_count and name not in NULLABLE:
                raise self._damaged(f"a row has no {name}")
        return table

    def _rows(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries with checked checksums, layout and size of the ids."""
        for row in table.to_pylist():
            if zlib.crc32(row["ids"]) != row["crc_ids"] or row_crc(row, self.info) != row["crc_row"]:
                raise self._damaged("a row has a wrong checksum")
            layout = self.info.layout
            try:
                if layout is None:
                    layout = as_layout(row["layout"])
                    check_layout(layout, len(self.info.codebook))
            except (UsageError, TypeError) as error:
                raise self._damaged(f"row '{row['key']}': {error}") from error
            if len(row["ids"]) != self.info.row_bytes(layout) or row["width"] < 1 or row["height"] < 1:
                raise self._damaged(f"row '{row['key']}' has {len(row['ids'])} bytes of ids for the layout {layout}")
            row["layout"] = layout
            yield row

    def _to_tokens(self, rows: list[dict[str, Any]]) -> Tokens:
        layout: Layout = rows[0]["layout"]
        if any(row["layout"] != layout for row in rows):
            raise UsageError("these rows have different layouts; ask for rows of one layout, or use batches()")
        data = np.frombuffer(b"".join(row["ids"] for row in rows), self.info.dtype)
        ids = data.reshape(len(rows), layout_size(layout), -1)
        if (ids >= np.array(self.info.codebook)).any():
            raise self._damaged("an id is outside the codebook")
        lengths = np.array([-1 if row["length"] is None else row["length"] for row in rows])
        return self._pack(ids, layout, lengths)

    def _pack(self, ids: np.ndarray, layout: Layout, lengths: np.ndarray) -> Tokens:
        """Ids (B, N, G) of any integer type and lengths (B,), -1 for N, as `Tokens`."""
        count = ids.shape[1]
        if lengths.max() > count or (lengths < -1).any():
            raise self._damaged(f"a row claims more than its {count} tokens")
        ids = ids[..., 0] if len(self.info.codebook) == 1 else ids
        valid = None
        if (lengths >= 0).any():
            valid = torch.from_numpy(np.where(lengths < 0, count, lengths).astype(np.int64))
        return Tokens(torch.from_numpy(ids.astype(np.int64)), layout, self.info.codebook, lengths=valid)

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self.path}: {what}: the file is damaged")


def _layout_of(row: dict[str, Any]) -> Layout:
    return row["layout"]
