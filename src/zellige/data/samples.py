"""The sample photographs in the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from zellige.core.images import IMAGE_SUFFIXES


def samples() -> list[Path]:
    """Paths of the bundled photographs, sorted by name; their origin and licences are in LICENSES.md beside them."""
    with as_file(files("zellige") / "bundled" / "samples") as folder:
        return sorted(path for path in folder.iterdir() if path.suffix in IMAGE_SUFFIXES)
