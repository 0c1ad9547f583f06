"""`zellige list`: every system, from the cards alone."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zellige.cli import options
from zellige.cli.console import print_json, print_table
from zellige.core.card import Card, Preset
from zellige.core.registry import cards


def run(
    all: Annotated[bool, typer.Option("--all", "-a", help="Show the planned systems too.")] = False,
    json: options.Json = False,
) -> None:
    """List the systems and their presets; --json gives every one, planned ones included."""
    if json:
        print_json([as_dict(card) for card in cards().values()])
        return
    shown = [card for card in cards().values() if all or card.status == "available"]
    headers = ["name", "kind", "status", "tokens", "size", "weights"]
    rows = [row for card in shown for row in _rows(card)]
    if not all:  # then they are all available
        for row in (headers, *rows):
            del row[2]
    print_table(headers, rows, right=("size",))
    planned = sum(card.status != "available" for card in cards().values())
    if planned and not all:
        print(f"{planned} more are planned: zellige list --all")


def as_dict(card: Card) -> dict[str, Any]:
    """A card as JSON; `parameters` and `weights` at the top are those of its default preset."""
    presets = [_preset(preset) for preset in card.presets.values()]
    first = presets[0] if presets else {"parameters": None, "weights": None}
    return {
        "name": card.name,
        "title": card.title,
        "kind": card.kind,
        "status": card.status,
        "paper": card.paper,
        "arxiv": card.arxiv,
        "year": card.year,
        "presets": presets,
        "parameters": first["parameters"],
        "tokens": card.tokens,
        "parts": [*card.parts],
        "weights": first["weights"],
        "licence": card.licence,
        "differs": [*card.differs],
    }


def _preset(preset: Preset) -> dict[str, Any]:
    weights = preset.weights
    return {
        "name": preset.name,
        "parameters": preset.parameters,
        "tokens": preset.tokens,
        "weights": weights and {"source": weights.source, "file": weights.file, "licence": weights.licence},
    }


def _rows(card: Card) -> list[list[str]]:
    if not card.presets:
        return [[card.name, card.kind, card.status, card.tokens, "", ""]]
    return [
        [
            f"{card.name}/{preset.name}",
            card.kind,
            card.status,
            preset.tokens,
            f"{preset.parameters / 1e6:.1f} M",
            _weights(preset),
        ]
        for preset in card.presets.values()
    ]


def _weights(preset: Preset) -> str:
    if preset.weights is None:
        return "none"
    place = "bundled" if preset.weights.source == "bundled" else "download"
    return f"{place}: {preset.weights.licence}"
