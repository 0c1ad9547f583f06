"""Zellige: visual tokens. Images to tokens and back, and everything around them.

Example:
    import zellige
    tokenizer = zellige.load("zellige-photo")
    tokens = tokenizer.encode("photo.jpg")
    pixels = tokenizer.decode(tokens)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zellige.core.card import Card
    from zellige.core.condition import TextFeatures
    from zellige.core.contract import Reconstruction, Reducer, Tokenizer
    from zellige.core.errors import ZelligeError
    from zellige.core.generator import Generator
    from zellige.core.hub import load
    from zellige.core.registry import build, card, cards
    from zellige.core.tokens import Tokens, TokenSpec

__version__ = "0.1.0"

_HOMES = {
    "Card": "card",
    "Generator": "generator",
    "Reconstruction": "contract",
    "Reducer": "contract",
    "Tokenizer": "contract",
    "TextFeatures": "condition",
    "TokenSpec": "tokens",
    "Tokens": "tokens",
    "ZelligeError": "errors",
    "build": "registry",
    "card": "registry",
    "cards": "registry",
    "load": "hub",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import zellige` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(f"zellige.core.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'zellige' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
