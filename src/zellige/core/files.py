"""Files that are whole or not there, and bounded when they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zellige.core.errors import DataError, UsageError, ZelligeError, reason


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block succeeds.

    Whoever reads `path` sees the old file or the new one, and nothing is left behind when the block fails.
    Raises `ZelligeError` if the folder is missing or takes no files, or if writing fails (a full disk).
    """
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}.tmp")  # cut: names have an end on every file system
    try:
        if path.is_dir():
            raise ZelligeError(f"cannot write {path}: it is a folder; name a file")
        if not path.parent.is_dir():
            raise ZelligeError(f"cannot write {path}: the folder {path.parent} does not exist")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ZelligeError(f"cannot write {path}: {reason(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def reading(path: Path, name: str | None = None) -> Iterator[None]:
    """Says what goes wrong while the block opens and reads the file at `path`, which errors may call `name`.

    Raises:
        UsageError: it is missing, a folder or a pipe.
        DataError: it cannot be read.
    """
    name = str(path) if name is None else name
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{name} is a folder, not a file" if path.is_dir() else f"{name} is no regular file")
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{name} does not exist") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read: {reason(error)}") from error


def read_file(path: Path, limit: int) -> bytes:
    """All bytes of a file, errors as of `reading`; `DataError` too if it has more than `limit` bytes."""
    with reading(path):
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path} has {size:,} bytes, more than the {limit:,} that such a file can have")
        return path.read_bytes()
