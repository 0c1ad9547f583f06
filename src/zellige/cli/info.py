"""`zellige info FILE`: what a file of ours says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zellige.cli import options
from zellige.cli.console import print_json
from zellige.core.errors import UsageError


def run(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .zel image, a .parquet token set, a .safetensors model or its folder."),
    ],
    json: options.Json = False,
) -> None:
    """Describe a .zel file, a token set or a saved model from its header, without decoding it."""
    facts = describe(file)
    if json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key.replace('_', ' '):{width}}  {_words(value)}")


def describe(path: Path) -> dict[str, Any]:
    """The facts in a file's header, JSON-ready; `UsageError` for files that are none of ours."""
    if path.is_dir() and (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if not path.is_file():
        raise UsageError(f"{path} {'is a folder without model.safetensors' if path.is_dir() else 'does not exist'}")
    if path.suffix == ".zel":
        from zellige.codec import info_zel

        return info_zel(path)
    if path.suffix == ".parquet":
        from zellige.codec import TokenSet

        return TokenSet(path).describe()
    if path.suffix == ".safetensors":
        return _model(path)
    raise UsageError(f"{path} is no file of zellige; info describes .zel, .parquet and .safetensors files")


def _model(path: Path) -> dict[str, Any]:
    from zellige.core.hub import model_header

    header = model_header(path)
    if header is None:
        raise UsageError(f"{path} was not saved by zellige: its header names no system")
    return {"format": "model", "bytes": path.stat().st_size, **header}


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
