"""Either kind of token file, told apart by its content."""

from __future__ import annotations

from pathlib import Path

from zellige.codec.entropy import Tables
from zellige.codec.tokenset import TokenSet
from zellige.codec.zel import MAGIC, EncodedImage, read_zel
from zellige.core.errors import UsageError
from zellige.core.files import reading


def file_kind(path: str | Path) -> str:
    """``zel`` or ``parquet``, by the first bytes; `UsageError` for anything else, `DataError` if it cannot be read."""
    with reading(Path(path)), open(path, "rb") as file:
        magic = file.read(4)
    kinds = {MAGIC: "zel", b"PAR1": "parquet"}
    if magic not in kinds:
        raise UsageError(f"{path} holds no tokens: expected a .zel image or a .parquet token set")
    return kinds[magic]


def load_tokens(path: str | Path, model: Tables = None) -> EncodedImage | TokenSet:
    """The image of a `.zel` file, or an opened token set; `model` as for `loads`.

    Raises `UsageError` for files of another kind and `DataError` for damaged ones.
    """
    return read_zel(path, model) if file_kind(path) == "zel" else TokenSet(path)
