"""`ImageSource`: a set of images that is read as a stream, whatever it is stored as.

A source lists `Entry`s: a name and where the compressed bytes lie. Iterating over the source decodes
them in a few threads (Pillow releases the GIL), in order, a bounded number ahead; so memory does not
depend on how many images there are.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from zellige.core.errors import DataError, ZelligeError
from zellige.core.files import reading
from zellige.core.images import LoadedImage, image_size, read_image
from zellige.data.parallel import default_workers, ordered_map

MAX_ENTRY_BYTES = 1 << 30
"""Compressed size above which a member of an archive is refused."""

MAX_NAMED_SKIPS = 1_000
"""Skipped files that are remembered by name; the others are counted."""


class ImageInfo(Protocol):
    """What is known of an image wherever its pixels are: here, or with a worker on another machine."""

    @property
    def key(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def label(self) -> int | None: ...
    @property
    def text(self) -> str | None: ...
    @property
    def several_frames(self) -> bool: ...


Image = TypeVar("Image", bound=ImageInfo)


@dataclass(frozen=True)
class ImageRecord:
    """One decoded image of a source.

    Attributes:
        key: its name in the source: a relative path with ``/``, never absolute, without ``..``.
        image: uint8 (H, W, 3), sRGB, upright.
        label: class number, where the source has one.
        text: caption, where the source has one.
        several_frames: the file holds an animation or several pages; `image` is the first.
    """

    key: str
    image: np.ndarray
    label: int | None = None
    text: str | None = None
    several_frames: bool = False

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.image.shape[0])


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where compressed bytes lie inside an archive, in bytes from its start."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source before decoding: its bytes, its file or its place in an archive."""

    key: str
    blob: Path | Span | bytes
    label: int | None = None
    text: str | None = None

    def decode(self, short_side: int | None = None) -> LoadedImage:
        """The picture; `short_side` as in `zellige.core.images.read_image`. Raises `DataError`."""
        return read_image(self._bytes(), name=self.key, short_side=short_side)

    def size(self) -> tuple[int, int]:
        """Width and height, from the header alone. Raises `DataError`."""
        return image_size(self._bytes(), name=self.key)

    def _bytes(self) -> Path | bytes:
        return _read_span(self.blob) if isinstance(self.blob, Span) else self.blob


class ImageSource(ABC):
    """A set of images. Iterating gives `ImageRecord`s, and starts anew every time.

    Files that are broken are left out and named in `skipped`; a source of one single file raises instead.

    Attributes:
        name: what the user asked for.
        skipped: the first `MAX_NAMED_SKIPS` files that the last pass left out.
        skipped_count: how many it left out.
        workers: decoding threads.
    """

    def __init__(self, name: str, *, workers: int | None = None, strict: bool = False) -> None:
        self.name = name
        self.workers = default_workers() if workers is None else workers
        self.strict = strict
        self.skipped: list[Skipped] = []
        self.skipped_count = 0
        self._lock = threading.Lock()

    @abstractmethod
    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        """The images before decoding; parts that can be read in any order are shuffled by `order`."""

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Number of images, broken ones included; None where only a full pass would tell."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, …; empty where the source has no labels, or labels without names."""
        return ()

    def index(self) -> Sequence[Entry] | None:
        """The entries by number, for random access; None where the storage allows none."""
        return None

    def skip(self, key: str, reason: str) -> None:
        """Count a file that is left out; the first of them by name. Any thread may call it."""
        with self._lock:
            self.skipped_count += 1
            if len(self.skipped) < MAX_NAMED_SKIPS:
                self.skipped.append(Skipped(key, reason))

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.through(lambda entries: ordered_map(try_decode, entries, self.workers))

    def through(
        self, decode: Callable[[Iterator[Entry]], Iterator[tuple[Entry, Image | ZelligeError]]]
    ) -> Iterator[Image]:
        """One pass: what `decode` makes of the entries, in their order, without those that it could not read."""
        self.skipped, self.skipped_count = [], 0
        for entry, image in decode(self.entries()):
            if not isinstance(image, ZelligeError):
                yield image
            elif self.strict:
                raise image
            else:
                self.skip(entry.key, reason_of(entry, image))


def printable(name: str) -> str:
    """A file name as text: bytes of it that are no UTF-8 become the replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def reason_of(entry: Entry, error: ZelligeError) -> str:
    """The error's text without the name that stands beside it."""
    return str(error).removeprefix(entry.key).lstrip()


def try_decode(entry: Entry) -> tuple[Entry, ImageRecord | ZelligeError]:
    """The entry with its image, or with the reason why it has none."""
    try:
        loaded = entry.decode()
    except ZelligeError as error:
        return entry, error
    return entry, ImageRecord(entry.key, loaded.pixels, entry.label, entry.text, loaded.several_frames)


def _read_span(span: Span) -> bytes:
    """The bytes of an archive's member. What the archive says of its size is checked first."""
    with reading(span.path), open(span.path, "rb") as file:
        whole = os.fstat(file.fileno()).st_size
        if span.size > MAX_ENTRY_BYTES or span.offset + span.size > whole:
            raise DataError(f"{span.path} is truncated or damaged")
        file.seek(span.offset)
        return file.read(span.size)
