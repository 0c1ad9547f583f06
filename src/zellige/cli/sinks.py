"""What `zellige encode` writes to: `.zel` files, or one token set."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from zellige.cli.names import FileNames
from zellige.cli.runtime import Session
from zellige.codec import EncodedImage, TokenSetWriter, write_zel
from zellige.core.tokens import Tokens
from zellige.data.source import Entry, ImageInfo

SAFE_EVERY = 60.0  # seconds of work that a killed run may lose


def open_sink(
    kind: str,
    session: Session,
    target: Path,
    size: int | None,
    classes: Sequence[str],
    resume: bool,
    report: Callable[[dict[str, Any]], None],
) -> Sink:
    """The sink of a kind of output: ``file``, ``folder`` or ``set``; arguments as for the classes."""
    if kind == "set":
        return TokenSetSink(session, target, size or session.tokenizer.image_size, classes, resume)
    path_of = FileNames(target, ".zel").path if kind == "folder" else lambda _: target
    return ZelSink(session, path_of, report, resume)


class Sink(ABC):
    """Takes the tokens of images, batch by batch.

    Attributes:
        images: how many it took; ``tokens``, ``pixels`` and ``bytes`` are their sums.
    """

    def __init__(self) -> None:
        self.images = self.tokens = self.pixels = self.bytes = 0

    @abstractmethod
    def is_done(self, entry: Entry) -> bool:
        """Whether an earlier run has already written the image."""

    @abstractmethod
    def write(self, images: Sequence[ImageInfo], tokens: Tokens) -> None:
        """Take the tokens of a batch of images."""

    @abstractmethod
    def save(self) -> None:
        """Make sure that a later run with --resume finds what was written so far."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the output."""

    def summary(self) -> dict[str, int]:
        """The sums, JSON-ready."""
        return {"images": self.images, "tokens": self.tokens, "pixels": self.pixels, "bytes": self.bytes}

    def count(self, images: Sequence[ImageInfo], tokens: Tokens) -> None:
        """Add a batch to the sums, `bytes` apart."""
        self.images += len(images)
        self.tokens += len(images) * tokens.num_tokens
        self.pixels += sum(image.height * image.width for image in images)


class ZelSink(Sink):
    """One `.zel` file an image.

    Args:
        path_of: the file for a key; asked once for each, in the order of the source.
        report: called with the name, width, height, tokens and bytes of each file.
        resume: leave files that are there as they are.
    """

    def __init__(
        self,
        session: Session,
        path_of: Callable[[str], Path],
        report: Callable[[dict[str, Any]], None],
        resume: bool,
    ) -> None:
        super().__init__()
        self.session, self.path_of, self.report, self.resume = session, path_of, report, resume
        self._paths: dict[str, Path] = {}

    def is_done(self, entry: Entry) -> bool:
        path = self.path_of(entry.key)
        if self.resume and path.exists():
            return True
        self._paths[entry.key] = path
        return False

    def write(self, images: Sequence[ImageInfo], tokens: Tokens) -> None:
        for row, info in enumerate(images):
            path, width, height = self._paths.pop(info.key), info.width, info.height
            path.parent.mkdir(parents=True, exist_ok=True)
            image = EncodedImage(tokens[row], width, height, self.session.tokenizer.name, self.session.fingerprint)
            size = write_zel(path, image, self.session.tables)
            self.bytes += size
            facts = {"file": str(path), "width": width, "height": height, "tokens": tokens.num_tokens, "bytes": size}
            self.report(facts)
        self.count(images, tokens)

    def save(self) -> None:
        return  # every file is complete as soon as it is there

    def finish(self) -> None:
        return


class TokenSetSink(Sink):
    """One Parquet file for all images, written in parts that survive a kill.

    Args:
        side: pixels of each side where all images have one size, None where sizes vary.
        classes: names of the labels, where they have names.
        resume: go on with an earlier run.
    """

    def __init__(self, session: Session, path: Path, side: int | None, classes: Sequence[str], resume: bool) -> None:
        super().__init__()
        layout = session.encode(torch.zeros(1, 3, side, side)).layout if side else None
        self.writer = TokenSetWriter(
            path,
            name=session.tokenizer.name,
            fingerprint=session.fingerprint,
            codebook=session.tokenizer.codebook,
            layout=layout,
            classes=classes,
            resume=resume,
        )
        self._saved = time.monotonic()

    def is_done(self, entry: Entry) -> bool:
        return entry.key in self.writer.done

    def write(self, images: Sequence[ImageInfo], tokens: Tokens) -> None:
        self.writer.append(
            [image.key for image in images],
            tokens,
            [(image.width, image.height) for image in images],
            classes=[image.label for image in images],
            texts=[image.text for image in images],
        )
        self.count(images, tokens)
        if time.monotonic() - self._saved > SAFE_EVERY:
            self.save()

    def save(self) -> None:
        self.writer.flush()
        self._saved = time.monotonic()

    def finish(self) -> None:
        self.bytes = self.writer.finish().stat().st_size
