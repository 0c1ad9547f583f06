"""Images that are files: folders, and lists of files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from zellige.core.errors import DataError, UsageError, reason
from zellige.core.images import IMAGE_SUFFIXES
from zellige.data.packed import PackedNames
from zellige.data.source import Entry, ImageSource, printable


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key by which ``img2`` comes before ``img10``."""
    parts = re.split(r"([0-9]+)", name)  # text and digits in turn
    return [(int(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


class FileList(ImageSource):
    """Image files in the order given. Keys are their paths below the folder that all of them share."""

    def __init__(self, name: str, paths: Sequence[Path], *, workers: int | None = None, strict: bool = False) -> None:
        super().__init__(name, workers=workers, strict=strict)
        absolute = [Path(os.path.abspath(path)) for path in paths]
        base = Path(os.path.commonpath([path.parent for path in absolute]))
        self._entries = [
            Entry(printable(path.relative_to(base).as_posix()), given)
            for path, given in zip(absolute, paths, strict=True)
        ]

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        yield from self._entries

    @property
    def length(self) -> int:
        return len(self._entries)

    def index(self) -> Sequence[Entry]:
        return self._entries


class Folder(ImageSource):
    """All images below a folder, in natural order; hidden files and folders are left out.

    The folders directly below it are the classes, as is usual: `label` is the number of the one that
    an image lies in, in natural order.
    """

    def __init__(self, path: Path, *, workers: int | None = None) -> None:
        super().__init__(str(path), workers=workers)
        self.path = path
        self._length: int | None = None
        if next(walk_images(path), None) is None:
            raise UsageError(f"no images in {path}; looked for {', '.join(IMAGE_SUFFIXES)}")

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        classes = self._classes()
        for name in walk_images(self.path, self.skip):
            yield self._entry(name, classes)

    @property
    def length(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in walk_images(self.path))
        return self._length

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(printable, self._classes()))

    def index(self) -> Sequence[Entry]:
        return _FolderIndex(self)

    def _classes(self) -> dict[str, int]:
        names = sorted((entry.name for entry in _scan(self.path) if entry.is_dir()), key=natural_key)
        return {name: number for number, name in enumerate(names)}

    def _entry(self, name: str, classes: dict[str, int]) -> Entry:
        top, slash, _ = name.partition("/")
        return Entry(printable(name), self.path / name, classes.get(top) if slash else None)


class _FolderIndex(Sequence[Entry]):
    """A folder's images by number; only their names are held."""

    def __init__(self, folder: Folder) -> None:
        self._names = PackedNames(walk_images(folder.path))
        self._folder, self._classes = folder, folder._classes()

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> Entry:  # type: ignore[override]  # slices have no use here
        return self._folder._entry(self._names[number], self._classes)


def walk_images(folder: Path, skip: Callable[[str, str], None] | None = None) -> Iterator[str]:
    """Paths of the images below `folder`, relative to it, in natural order; one folder in memory at a time.

    A folder inside it that cannot be listed is passed to `skip` with the reason.
    """
    yield from _walk(folder, "", frozenset(), skip)


def _walk(
    folder: Path, prefix: str, above: frozenset[tuple[int, int]], skip: Callable[[str, str], None] | None
) -> Iterator[str]:
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        entries = sorted(_scan(folder), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        if not prefix:
            raise DataError(f"{folder} cannot be listed: {reason(error)}") from error
        if skip is not None:
            skip(prefix, f"cannot be listed: {reason(error)}")
        return
    if here in above:  # a link to a folder that holds it
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", above | {here}, skip)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES) and (entry.is_file() or entry.is_symlink()):
            yield prefix + entry.name


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]
