"""`open_images`: whatever a user names as a set of images, as one `ImageSource`."""

from __future__ import annotations

import difflib
import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from zellige.core.errors import DataError, UsageError, reason
from zellige.core.images import IMAGE_SUFFIXES
from zellige.data.files import FileList, Folder, natural_key, walk_images
from zellige.data.parquet import ParquetFiles
from zellige.data.samples import samples
from zellige.data.shards import TAR_SUFFIXES, TarShards
from zellige.data.source import Entry, ImageSource

SHARD_SUFFIXES = (*TAR_SUFFIXES, ".parquet")


def open_images(source: str | Path | Sequence[str | Path], *, workers: int | None = None) -> ImageSource:
    """Open a set of images for streaming.

    Args:
        source: an image file, a folder, a glob, a WebDataset tar or a brace pattern of them
            (``shards-{0..3}.tar``), a Parquet file, a folder of tars or Parquet files, ``hf:owner/name[:split]``,
            ``samples`` (the photographs in the package), or a list of these.
        workers: decoding threads; the machine's cores, at most 8, unless told.

    Raises:
        UsageError: a path does not exist, a folder holds no images, or a file is of no kind that is read here.

    Example:
        >>> from zellige.data import open_images, samples
        >>> record = next(iter(open_images(samples())))
        >>> record.image.dtype, record.image.ndim
        (dtype('uint8'), 3)
    """
    wanted = [source] if isinstance(source, (str, Path)) else list(source)
    if not wanted:
        raise UsageError("no images were named")
    paths = [path for item in wanted for path in _expand(item)]
    groups = itertools.groupby(paths, key=_kind)
    parts = [part for kind, members in groups for part in _open_group(kind, list(members), workers, len(paths) == 1)]
    return parts[0] if len(parts) == 1 else Chain(parts, workers=workers)


class Chain(ImageSource):
    """Several sources, one after another."""

    def __init__(self, parts: Sequence[ImageSource], *, workers: int | None = None) -> None:
        super().__init__(", ".join(part.name for part in parts), workers=workers)
        self.parts = list(parts)
        for part in self.parts:
            part.skip = self.skip  # type: ignore[method-assign]  # one list of what was left out

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        for number in range(len(self.parts)) if order is None else order.permutation(len(self.parts)):
            yield from self.parts[number].entries(order)

    @property
    def length(self) -> int | None:
        lengths = [part.length for part in self.parts]
        return None if None in lengths else sum(length for length in lengths if length is not None)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those that all parts agree on."""
        found = {part.classes for part in self.parts}
        return found.pop() if len(found) == 1 else ()

    def index(self) -> Sequence[Entry] | None:
        indexes = [index for part in self.parts if (index := part.index()) is not None]
        return _ChainIndex(indexes) if len(indexes) == len(self.parts) else None


class _ChainIndex(Sequence[Entry]):
    def __init__(self, indexes: list[Sequence[Entry]]) -> None:
        self._indexes = indexes
        self._ends = np.cumsum([len(index) for index in indexes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Entry:  # type: ignore[override]  # slices have no use here
        part = int(np.searchsorted(self._ends, number, side="right"))
        return self._indexes[part][number - (int(self._ends[part - 1]) if part else 0)]


def _expand(item: str | Path) -> list[str | Path]:
    """One named thing as existing paths, or a hub name."""
    text = str(item)
    if text.startswith("hf:"):
        return [text]
    path = Path(item)
    try:
        exists = path.exists()
    except OSError as error:  # a folder on the way may not be entered, or the name is too long
        raise DataError(f"{path} cannot be read: {reason(error)}") from error
    if exists:
        return _shards_in(path) if path.is_dir() else [path]
    if text == "samples":
        return [*samples()]
    if "{" in text and text.endswith(SHARD_SUFFIXES):
        from webdataset.shardlists import expand_urls

        return [existing for name in expand_urls(text) for existing in _expand(name)]
    found = sorted(glob.glob(text, recursive=True), key=natural_key) if glob.has_magic(text) else []
    if found:
        return [path for name in found for path in _expand(Path(name)) if not _is_stray(path)]
    if glob.has_magic(text):
        raise UsageError(f"nothing matches {text}")
    raise _missing(path)


def _is_stray(path: str | Path) -> bool:
    """Whether a glob swept up a file that is no image and no shard."""
    return Path(path).is_file() and not str(path).lower().endswith((*IMAGE_SUFFIXES, *SHARD_SUFFIXES))


def _shards_in(folder: Path) -> list[str | Path]:
    """The folder itself, or the shards in it where it holds those and no images."""
    if next(walk_images(folder), None) is not None:
        return [folder]
    shards = [path for path in folder.iterdir() if path.name.lower().endswith(SHARD_SUFFIXES)]
    return [*sorted(shards, key=lambda path: natural_key(path.name))] or [folder]


def _kind(path: str | Path) -> str:
    name = str(path).lower()
    if name.startswith("hf:") and not isinstance(path, Path):
        return "hub"
    if Path(path).is_dir():
        return "folder"
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    return "parquet" if name.endswith(".parquet") else "file"


def _open_group(kind: str, members: list[str | Path], workers: int | None, strict: bool) -> Iterator[ImageSource]:
    """Neighbours of one kind: files, tars and Parquet files make one source together."""
    paths = [Path(member) for member in members]
    name = str(members[0]) if len(members) == 1 else f"{members[0]} and {len(members) - 1} more"
    if kind == "hub":
        from zellige.data.hub import HubDataset  # the Hub's client is slow to import

        yield from (HubDataset(str(member), workers=workers) for member in members)
    elif kind == "folder":
        yield from (Folder(path, workers=workers) for path in paths)
    elif kind == "tar":
        yield TarShards(name, paths, workers=workers)
    elif kind == "parquet":
        yield ParquetFiles(name, paths, workers=workers)
    else:
        yield FileList(name, paths, workers=workers, strict=strict)


def _missing(path: Path) -> UsageError:
    """A missing path, with the most similar name beside it."""
    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return UsageError(f"{path} does not exist, and neither does its folder")
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return UsageError(f"{path} does not exist" + (f"; did you mean {path.with_name(close[0])}?" if close else ""))
