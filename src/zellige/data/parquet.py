"""Images in Parquet files: a column of encoded images, and a label and a caption where there are such columns.

Labels are numbers, or names in one or two columns of text; names are numbered in their order, and two of them become
one, ``category/subcategory``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zellige.core.errors import DataError, UsageError, reason
from zellige.data.source import Entry, ImageSource

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
LABEL_COLUMNS = ("label", "labels", "cls", "class", "fine_label")
NAME_COLUMNS = (("category", "subcategory"), ("category",), *((name,) for name in LABEL_COLUMNS))
"""Columns of text that name the class, where there is no column of numbers; the first that are all there are taken."""
MAX_NAMES = 100_000
TEXT_COLUMNS = ("text", "txt", "caption", "prompt", "title")
ROWS_AT_ONCE = 32


class ParquetFiles(ImageSource):
    """Rows of Parquet files, read a few at a time.

    The image column holds encoded files: binary, or the struct of ``bytes`` and ``path`` that Hugging Face
    `datasets` writes. The path is never followed.
    """

    def __init__(self, name: str, paths: Sequence[Path], *, workers: int | None = None) -> None:
        super().__init__(name, workers=workers)
        self.paths = list(paths)
        self._sizes = [self._open(path) for path in paths]

    def _open(self, path: Path) -> list[int]:
        """Rows of each row group, from the footer; says at once when the file is not what it should be."""
        with _reader(path) as file:
            image_column(file.schema_arrow, str(path))
            return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        groups = [(file, group) for file, sizes in enumerate(self._sizes) for group in range(len(sizes))]
        for number in range(len(groups)) if order is None else order.permutation(len(groups)):
            file, group = groups[number]
            yield from self._rows(self.paths[file], group, sum(self._sizes[file][:group]))

    @property
    def length(self) -> int:
        return sum(map(sum, self._sizes))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Labels by name: those that the first file lists, or else all that occur in any."""
        import pyarrow as pa

        names: set[str] = set()
        for path in self.paths:
            with _reader(path) as file:
                columns = Columns.of(file.schema_arrow, str(path))
                if columns.label:
                    return {name: number for number, name in enumerate(_listed(file.schema_arrow, columns.label))}
                if not columns.named:
                    return {}
                try:
                    for batch in file.iter_batches(columns=columns.named):
                        names.update(filter(None, map(columns.name_of, batch.to_pylist())))
                except (pa.ArrowException, OSError) as error:
                    raise DataError(f"{path} is not a sound Parquet file ({reason(error)})") from error
            if len(names) > MAX_NAMES:
                raise DataError(f"{path} names more than {MAX_NAMES:,} classes in {' and '.join(columns.named)}")
        return {name: number for number, name in enumerate(sorted(names))}

    def _rows(self, path: Path, group: int, first: int) -> Iterator[Entry]:
        import pyarrow as pa

        row = first
        try:
            with _reader(path) as file:
                columns = Columns.of(file.schema_arrow, str(path))
                numbers = self._numbers if columns.named else {}
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns.names):
                    for values in batch.to_pylist():
                        yield columns.entry(f"{path.stem}-{row:06d}", values, numbers)
                        row += 1
        except (pa.ArrowException, OSError) as error:
            self.skip(f"{path.name}, rows from {row}", f"cannot be read ({reason(error)})")


class Columns:
    """Which columns of a table hold the image, the label or the names of the class, and the caption."""

    def __init__(self, image: str, label: str | None, named: Sequence[str], text: str | None) -> None:
        self.image, self.label, self.named, self.text = image, label, list(named), text
        self.names = [name for name in (image, label, *named, text) if name is not None]

    @classmethod
    def of(cls, schema: pa.Schema, where: str) -> Columns:
        """Raises `UsageError` where no column holds images."""
        import pyarrow as pa

        def fits(name: str, kind: Callable[[pa.DataType], bool]) -> bool:
            return name in schema.names and kind(schema.field(name).type)

        label = next((name for name in LABEL_COLUMNS if fits(name, pa.types.is_integer)), None)
        text = next((name for name in TEXT_COLUMNS if fits(name, _is_string)), None)
        named = next((names for names in NAME_COLUMNS if all(fits(name, _is_string) for name in names)), ())
        return cls(image_column(schema, where), label, () if label else named, text)

    def entry(self, key: str, row: dict[str, Any], numbers: Mapping[str, int]) -> Entry:
        """The image of a row; `numbers` has the labels of named classes."""
        image = row[self.image]
        data = image.get("bytes") if isinstance(image, dict) else image
        label = row[self.label] if self.label else numbers.get(self.name_of(row) or "")
        text = row[self.text] if self.text else None
        return Entry(key, data or b"", label, text)

    def name_of(self, row: Mapping[str, Any]) -> str | None:
        """Name of the class of a row; None where a part of it is missing."""
        parts = [row[name] for name in self.named]
        return "/".join(parts) if parts and all(parts) else None


def _listed(schema: pa.Schema, label: str) -> list[str]:
    """Names of the labels in a column, where the file was written by Hugging Face `datasets`."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def image_column(schema: pa.Schema, where: str) -> str:
    """The column that holds encoded images: by its name, else the only one of such a type."""
    candidates = [field.name for field in schema if _holds_bytes(field.type)]
    named = [name for name in IMAGE_COLUMNS if name in candidates]
    if named or len(candidates) == 1:
        return (named or candidates)[0]
    found = f"several could be: {', '.join(candidates)}" if candidates else f"it has: {', '.join(schema.names)}"
    raise UsageError(f"no column of {where} is known to hold images ({found}); name it 'image'")


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_string(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _reader(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a sound Parquet file ({reason(error)})") from error
