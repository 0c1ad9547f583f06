"""Where results go: checked before any work is done, and left clean when it fails."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zellige.core.errors import ZelligeError, reason


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """A folder that takes files; it is made if need be, and removed again if it stays empty.

    Raises `ZelligeError` if it cannot be made or written to.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove_empty(missing)
        file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
        why = f"{file} is a file" if file else reason(error)
        raise ZelligeError(f"cannot write to the folder {folder}: {why}; choose another --output") from None
    try:
        yield folder
    finally:
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of `folders`, innermost first, that exist and hold nothing."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
