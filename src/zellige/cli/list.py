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
    rows = [row for card in cards().values() if all or card.status == "available" for row in _rows(card)]
    print_table(("name", "kind", "status", "tokens", "parameters", "weights", "licence"), rows, right=("parameters",))
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


def _rows(card: Card) -> list[tuple[str, ...]]:
    if not card.presets:
        return [(card.name, card.kind, card.status, card.tokens, "", "", card.licence)]
    return [
        (
            f"{card.name}/{preset.name}",
            card.kind,
            card.status,
            preset.tokens,
            f"{preset.parameters:,}",
            preset.weights.source if preset.weights else "none",
            preset.weights.licence if preset.weights else card.licence,
        )
        for preset in card.presets.values()
    ]
