"""Find the handler of a case, run it, say what came out."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.parity.case import Case, Line

Meta = Mapping[str, Any]
Handler = Callable[[Case], None]
_HANDLERS: list[tuple[Callable[[Meta], bool], Handler]] = []


def handler(matches: Callable[[Meta], bool]) -> Callable[[Handler], Handler]:
    """Register the decorated function for the cases whose meta `matches` accepts."""

    def register(function: Handler) -> Handler:
        _HANDLERS.append((matches, function))
        return function

    return register


def find_handler(meta: Meta) -> Handler | None:
    """The handler of a case by its meta; every module of `handlers` registers its own."""
    package = importlib.import_module("tests.parity.handlers")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    told = {**meta, "official": str(meta.get("official", ""))}  # some cases name several sources, or none
    return next((function for matches, function in _HANDLERS if matches(told)), None)


def run(path: str | Path) -> tuple[bool, list[Line]]:
    """Check one case: whether it passed, and a line an array. Never raises for what a case holds."""
    try:
        case = Case.load(path)
    except Exception as error:  # any kind of damage: the remaining cases still run
        return False, [Line("(file)", False, f"cannot be read: {_one_line(error)}")]
    function = find_handler(case.meta)
    if function is None:
        official = f"{case.meta.get('system')}: {case.meta.get('official')}"
        return False, [Line("(case)", False, f"no handler for {official}")]
    try:
        with torch.no_grad():
            function(case)
    except Exception as error:  # a handler that fails is a failed case
        case.lines.append(Line("(handler)", False, _one_line(error)))
    case.close()
    return case.ok, case.lines


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
