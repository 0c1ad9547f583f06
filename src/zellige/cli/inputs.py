"""The images a command works on: what the user named, minus what is done already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from zellige.cli.console import note
from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.data import ImageRecord, ImageSource, open_images
from zellige.data.files import FileList
from zellige.data.open import Chain
from zellige.data.parallel import ordered_map
from zellige.data.source import Entry, Image, try_decode
from zellige.data.transforms import center_crop_adm

AHEAD, AHEAD_PIXELS = 64, 8 << 20
"""Images that are made ahead while the network computes, and their pixels, where the size is known."""
NAMED = 20  # skipped files that are printed; --json gives all that the source remembers


class ImageInputs(ImageSource):
    """Images of several sources as one, each under a key of its own.

    Args:
        names: paths, patterns and ``hf:`` names, as `open_images` takes them.
        size: every image is resized to this short side and cropped to a square; None leaves them as they are.

    Attributes:
        is_done: tells whether an image needs no work any more; it is then not decoded.
        given: images that the last pass gave.
        done_before: images that it left out by `is_done`.
        animated: keys of files with several frames, of which the first was given.
    """

    def __init__(self, names: Sequence[str], size: int | None = None) -> None:
        self.source = open_images(names)
        super().__init__(self.source.name, workers=self.source.workers, strict=self.source.strict)
        for part in (self.source, *(self.source.parts if isinstance(self.source, Chain) else ())):
            part.skip = self.skip  # type: ignore[method-assign]  # one list of what was left out
        self.size = size
        self.is_done: Callable[[Entry], bool] = lambda _: False
        self.given = self.done_before = 0
        self.animated: list[str] = []

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        self.done_before = 0
        seen: set[str] = set()
        for entry in self.source.entries(order):
            key, number = entry.key, 1
            if isinstance(self.source, (Chain, FileList)):  # files of two folders may have one name
                while key in seen:
                    number += 1
                    key = f"{entry.key}~{number}"
                seen.add(key)
            entry = replace(entry, key=key)
            if self.is_done(entry):
                self.done_before += 1
            else:
                yield entry

    def __iter__(self) -> Iterator[ImageRecord]:
        ahead = 0 if self.size is None else min(AHEAD, AHEAD_PIXELS // self.size**2)
        return self.through(lambda entries: ordered_map(self._prepared, entries, self.workers, ahead=ahead))

    def _prepared(self, entry: Entry) -> tuple[Entry, ImageRecord | ZelligeError]:
        """The image as the command takes it, made by the threads that decode."""
        entry, image = try_decode(entry)
        return entry, image if isinstance(image, ZelligeError) else resized(image, self.size)

    def through(
        self, decode: Callable[[Iterator[Entry]], Iterator[tuple[Entry, Image | ZelligeError]]]
    ) -> Iterator[Image]:
        self.given, self.animated = 0, []
        for image in super().through(decode):
            self.given += 1
            if image.several_frames:
                self.animated.append(image.key)
            yield image

    @property
    def length(self) -> int | None:
        return self.source.length

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    def check_some(self) -> None:
        """Raise `UsageError` if there was no image at all, `DataError` if not one of them could be read."""
        if self.given or self.done_before:
            return
        if not self.skipped_count:
            raise UsageError(f"no images in {self.name}")
        first = "; ".join(f"{item.key} {item.reason}" for item in self.skipped[:4])
        raise DataError(f"none of the {self.skipped_count} images in {self.name} could be read: {first}")

    def report(self) -> None:
        """Name on stderr what was left out."""
        _name("the first of several frames was used in", self.animated, len(self.animated))
        _name("skipped", [f"{item.key} {item.reason}" for item in self.skipped], self.skipped_count)


def resized(record: ImageRecord, size: int | None) -> ImageRecord:
    """The image as a square of `size` pixels a side; as it is where that is None."""
    return record if size is None else replace(record, image=center_crop_adm(record.image, size))


def _name(what: str, names: list[str], count: int) -> None:
    if count:
        note(f"{what} {count} file{'s' * (count > 1)}:")
        for name in names[:NAMED]:
            note(f"  {name}")
        if count > NAMED:
            note(f"  and {count - NAMED} more")
