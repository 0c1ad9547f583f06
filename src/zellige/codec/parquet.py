"""Opening Parquet files that may be damaged: what Arrow raises becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zellige.core.errors import DataError, UsageError, reason
from zellige.core.files import reading

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_MAX_FOOTER = 1 << 26


@contextmanager
def arrow_errors(path: Path) -> Iterator[None]:
    """Turns whatever Arrow raises over a file into a `DataError` of one line."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: damaged Parquet file ({reason(error)})") from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file by name, its footer no larger than a token set can need."""
    import pyarrow.parquet as pq

    with reading(path), path.open("rb") as file:
        head = file.read(4)
        file.seek(max(0, path.stat().st_size - 8))
        tail = file.read(8)
    if head != b"PAR1":
        raise UsageError(f"{path} is no Parquet file")
    if tail[-4:] != b"PAR1" or int.from_bytes(tail[:4], "little") > _MAX_FOOTER:
        raise DataError(f"{path}: the end of the Parquet file is missing: it is truncated or damaged")
    with arrow_errors(path):
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
