"""Names to cards to classes. Nothing is imported before it is asked for.

A name is a system, ``llamagen-vq``, or a system and a preset, ``llamagen-vq/vq-8``.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any, overload

from zellige.core.card import Card, Preset
from zellige.core.errors import UsageError, nearest, reason

if TYPE_CHECKING:
    from zellige.core.contract import Model, Tokenizer
    from zellige.core.generator import Generator
    from zellige.core.tokens import Tokens, TokenSpec

DEFAULT_TOKENIZER = "zellige-photo"


@cache
def cards() -> dict[str, Card]:
    """All systems, available and planned, by name, in the order of the table of systems.

    A folder file `systems/<slug>.toml` describes an available system and replaces its line in
    `systems/planned.toml`.
    """
    folder = resources.files("zellige.systems")
    found: dict[str, Card] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith(".toml") and path.name != "planned.toml":
            name = path.name.removesuffix(".toml")
            found[name] = Card.from_dict(name, tomllib.loads(path.read_text("utf-8")))
    planned = tomllib.loads(folder.joinpath("planned.toml").read_text("utf-8"))
    table = {name: found.pop(name) if name in found else Card.from_dict(name, data) for name, data in planned.items()}
    return {**found, **table}  # base systems first: they are in no line of the table


def card(name: str) -> Card:
    """The card of a system; `UsageError` with the nearest names if there is none."""
    known = cards()
    if name not in known:
        raise nearest(name, list(known), "system")
    return known[name]


def resolve(name: str) -> tuple[Card, Preset]:
    """``system`` or ``system/preset`` to its card and preset."""
    system, _, preset = name.partition("/")
    found = card(system)
    return found, found.preset(preset or None)


def system_class(name: str) -> type[Model]:
    """The class that implements a system, imported now."""
    found = card(name)
    if not found.entry:
        raise UsageError(f"'{name}' is planned, not available yet; see: zellige list --all")
    module, _, attribute = found.entry.partition(":")
    return getattr(import_module(module), attribute)


@overload
def build(name: str, *, for_tokens: Tokens | TokenSpec, **overrides: Any) -> Generator: ...


@overload
def build(name: str, **overrides: Any) -> Model: ...


def build(name: str, *, for_tokens: Tokens | TokenSpec | None = None, **overrides: Any) -> Model:
    """A new model of a preset with fresh weights.

    Args:
        name: ``system`` or ``system/preset``.
        for_tokens: tokens, or their `TokenSpec`: a generator is made for layout and codebook of these.
        overrides: replace fields of the preset's configuration. For a generator ``tokenizer`` may be the model itself:
            some look into it, all note where their tokens come from.

    Raises `UsageError` for an unknown name or field, for values with which the model cannot be built, and for tokens
    that a generator cannot model.
    """
    found, preset = resolve(name)
    model_class = system_class(found.name)
    source = overrides.get("tokenizer")
    if source is not None and not isinstance(source, str):
        overrides = {**_settings_from(model_class, source), **overrides, "tokenizer": source.name}
    if for_tokens is not None:
        overrides = {**_settings_for(model_class, for_tokens), **overrides}
    try:
        model = model_class.from_config({**preset.config, **overrides})
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # what torch makes of a wrong number
        if not overrides:
            raise
        settings = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
        raise UsageError(f"'{name}' cannot be built with {settings}: {reason(error)}") from error
    model.name = f"{found.name}/{preset.name}"
    if source is not None and not isinstance(source, str):
        model.adopt(source)  # type: ignore[operator]
    return model


def _settings_from(model_class: type[Model], tokenizer: Tokenizer) -> dict[str, Any]:
    from zellige.core.generator import Generator

    assert issubclass(model_class, Generator)
    return {**model_class.settings_from(tokenizer), "fingerprint": tokenizer.fingerprint()}


def _settings_for(model_class: type[Model], tokens: Tokens | TokenSpec) -> dict[str, Any]:
    from zellige.core.generator import Generator
    from zellige.core.tokens import Tokens

    if not issubclass(model_class, Generator):
        raise UsageError(f"'{model_class.system}' is no generator; only generators are built for tokens")
    return model_class.settings_for(tokens.spec if isinstance(tokens, Tokens) else tokens)
