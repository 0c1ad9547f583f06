"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zellige.core.errors import UsageError, ZelligeError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block succeeds.

    Nothing is left behind when it fails. Raises `UsageError` if the folder is missing or not
    writable, `ZelligeError` if writing fails (a full disk).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist")
    try:
        yield temporary
        os.replace(temporary, path)
    except PermissionError as error:
        raise UsageError(f"cannot write {path}: permission denied") from error
    except OSError as error:
        raise ZelligeError(f"cannot write {path}: {os.strerror(error.errno) if error.errno else error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_file(path: Path, limit: int) -> bytes:
    """All bytes of a file of at most `limit` bytes; `UsageError` if it is missing, a folder or too large."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise UsageError(f"{path} has {size:,} bytes, more than the {limit:,} that such a file can have")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder, not a file") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
