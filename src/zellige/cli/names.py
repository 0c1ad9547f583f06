"""Names of images in a set, as files below a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

LONGEST = 200  # bytes of one part of a path, below what file systems take


class FileNames:
    """Gives every key of a set its own file below `folder`, whatever the key holds.

    ``a/b.jpg`` becomes ``a/b.png``; a second ``a/b.webp`` becomes ``a/b.webp.png``. Keys may come from
    a file that somebody else made: parts that would lead out of the folder are dropped.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self.suffix = folder, suffix
        self._taken: set[Path] = set()

    def path(self, key: str) -> Path:
        """The file for `key`; depends on the keys asked for before it."""
        text = "".join(c if c.isprintable() else "_" for c in key.replace("\\", "/"))
        parts = [_tail(part) for part in PurePosixPath(text).parts if part.strip("/. ")]
        whole = PurePosixPath(*parts) if parts else PurePosixPath("image")
        path = (self.folder / whole).with_name(whole.stem + self.suffix)
        number = 1
        while path in self._taken:
            count = f".{number}" if number > 1 else ""
            path = (self.folder / whole).with_name(f"{whole.name}{count}{self.suffix}")
            number += 1
        self._taken.add(path)
        return path


def _tail(part: str) -> str:
    """The end of a name, which holds its number, in at most `LONGEST` bytes."""
    return part.encode("utf-8", "replace")[-LONGEST:].decode("utf-8", "ignore")
