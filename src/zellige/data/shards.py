"""Images in WebDataset tars: samples are runs of members that share a name up to its first dot.

Photographs whose names hold dots of their own (``IMG.2024.05.jpg``) are told from such samples by having
no plain ``.jpg`` among them; each of those is a sample of its own.

Of a sample the first image is used, and ``.cls`` (a class number), ``.txt`` (a caption) and ``.json`` (an
object with ``label`` or ``text``); further images count as skipped. Nothing else is ever read, least of all
pickled members; shards are opened as files, so that no name is taken for a command.
"""

from __future__ import annotations

import json
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]  # documented, untyped
from typing import Any, BinaryIO, Literal, Self

import numpy as np
from webdataset.tariterators import base_plus_ext, group_by_keys

from zellige.core.errors import reason
from zellige.core.images import IMAGE_SUFFIXES
from zellige.data.packed import PackedNames
from zellige.data.source import MAX_ENTRY_BYTES, Entry, ImageSource, Span, printable

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

MAX_TEXT_BYTES = 1 << 20
"""Size above which a caption or a JSON member is not read."""

LONGEST_SAMPLE = 64
"""Members above which a run with one name up to the first dot is no longer held together."""


class TarShards(ImageSource):
    """Images in tar files, one after another.

    Members of an uncompressed tar are found by their headers and read only where needed, so that it can be
    indexed. Compressed tars are read from front to back.
    """

    def __init__(self, name: str, paths: Sequence[Path], *, workers: int | None = None) -> None:
        super().__init__(name, workers=workers)
        self.paths = list(paths)
        self._index: _TarIndex | None = None

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        for number in range(len(self.paths)) if order is None else order.permutation(len(self.paths)):
            path = self.paths[number]
            prefix = f"{path.name.partition('.')[0]}/" if len(self.paths) > 1 else ""
            for sample in self._samples(path):
                for part in _split(sample):
                    entry = _entry(prefix, part)
                    if entry is not None:
                        used, *others = _images(part)
                        for ext in others:
                            self.skip(f"{entry.key}.{ext}", f"is left out: {used} is the image of its sample")
                        yield entry

    @property
    def length(self) -> int | None:
        return None if self._index is None else len(self._index)

    def index(self) -> Sequence[Entry] | None:
        if not all(path.suffix == ".tar" for path in self.paths):
            return None
        if self._index is None:
            self._index = _TarIndex(self.paths, self.entries())
        return self._index

    def _samples(self, path: Path) -> Iterator[dict[str, Any]]:
        """Members grouped by webdataset: ``__key__`` and one `Span` or bytes for each extension."""

        def on_error(error: Exception) -> bool:
            self.skip(path.name, str(error))
            return True

        yield from group_by_keys(self._members(path), handler=on_error)

    def _members(self, path: Path) -> Iterator[dict[str, Any]]:
        compressed = path.suffix != ".tar"
        run, last_stem, last_prefix = 0, "", ""
        try:
            with open(path, "rb") as file, _open_tar(file, compressed) as tar:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
                    stem, _, suffix = member.name.rpartition(".")
                    kind = _member_kind(member, suffix.lower())
                    if kind is None:
                        continue
                    limit = MAX_ENTRY_BYTES if kind == "image" else MAX_TEXT_BYTES
                    if member.size > limit:
                        self.skip(f"{path.name}:{member.name}", f"is larger than {limit >> 20} MiB")
                        continue
                    prefix = base_plus_ext(member.name)[0]
                    run = run + 1 if prefix == last_prefix else 1
                    if run > LONGEST_SAMPLE and stem != last_stem:
                        run = 1
                        yield {}  # closes the sample: these are photographs whose names begin alike
                    last_stem, last_prefix = stem, prefix
                    data: Span | bytes = Span(path, member.offset_data, member.size)
                    if compressed or kind == "text":
                        stream = tar.extractfile(member)
                        data = stream.read() if stream is not None else b""
                    yield {"fname": member.name, "data": data, "__url__": str(path)}
        except OSError as error:
            self.skip(path.name, f"cannot be read: {reason(error)}")
        except Exception as error:  # a damaged archive can raise anything inside tarfile and zlib
            self.skip(path.name, f"is a damaged or truncated tar ({reason(error)})")


class _CheckedHeader(tarfile.TarInfo):
    """A header that is cut off or damaged is an error wherever it lies; tarfile would take it for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ReadError(f"{error} at byte {tarfile.offset}") from error


def _open_tar(file: BinaryIO, compressed: bool) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|*" if compressed else "r:", tarinfo=_CheckedHeader)


def _member_kind(member: tarfile.TarInfo, suffix: str) -> Literal["image", "text"] | None:
    if not member.isreg():
        return None
    if f".{suffix}" in IMAGE_SUFFIXES:
        return "image"
    return "text" if suffix in ("cls", "txt", "json") else None


class _TarIndex(Sequence[Entry]):
    """Where every image of uncompressed tars lies: 32 bytes an image, its name and its caption."""

    def __init__(self, paths: Sequence[Path], entries: Iterator[Entry]) -> None:
        self._paths = list(paths)
        self._names, self._texts = PackedNames(), PackedNames()
        self._rows = array("q")
        shard_of = {path: number for number, path in enumerate(paths)}
        for entry in entries:
            span = entry.blob
            assert isinstance(span, Span)
            self._names.append(entry.key)
            self._texts.append((entry.text or "").encode("utf-8", "replace").decode())
            label = -1 if entry.label is None else entry.label
            self._rows.extend((shard_of[span.path], span.offset, span.size, label))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> Entry:  # type: ignore[override]  # slices have no use here
        shard, offset, size, label = self._rows[4 * number : 4 * number + 4]
        span, text = Span(self._paths[shard], offset, size), self._texts[number] or None
        return Entry(self._names[number], span, None if label < 0 else label, text)


def _split(sample: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A sample as it is; or one for each image, where only names up to the last dot tell them apart."""
    if _images(sample):
        yield sample
        return
    parts: dict[str, dict[str, Any]] = {}
    for ext, data in sample.items():
        if not ext.startswith("__"):
            middle, dot, last = ext.rpartition(".")
            key = f"{sample['__key__']}{'.' if dot else ''}{middle}"
            parts.setdefault(key, {"__key__": key})[last] = data
    yield from parts.values()


def _images(sample: dict[str, Any]) -> list[str]:
    """Extensions of the sample's images, in the order of the tar."""
    return [ext for ext in sample if f".{ext}" in IMAGE_SUFFIXES]


def _entry(prefix: str, sample: dict[str, Any]) -> Entry | None:
    """The sample's image with what is known of it; None for a sample without an image."""
    image = next(iter(_images(sample)), None)
    if image is None:
        return None
    facts = _json(sample.get("json", b""))
    label = _integer(sample["cls"]) if "cls" in sample else facts.get("label")
    text = sample["txt"].decode("utf-8", "replace").strip() if "txt" in sample else facts.get("text")
    return Entry(
        key=prefix + safe_key(sample["__key__"]),
        blob=sample[image],
        label=label if isinstance(label, int) and 0 <= label < 2**63 else None,
        text=text if isinstance(text, str) else None,
    )


def safe_key(name: str) -> str:
    """A name from inside a file as a relative path that leads to no other place."""
    parts = printable(name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "image"


def _integer(data: bytes) -> int | None:
    text = data[:20].strip()
    return int(text) if text.isdigit() else None


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
