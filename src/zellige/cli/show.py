"""`zellige show NAME`: the card of one system."""

from __future__ import annotations

from typing import Annotated

import typer

from zellige.cli import options
from zellige.cli.console import print_json, print_table
from zellige.cli.list import as_dict
from zellige.core.registry import card as find_card


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A system, as zellige list names it.")],
    json: options.Json = False,
) -> None:
    """Print the card of a system: its paper, tokens, presets, weights, and what differs from the original."""
    card = find_card(name.partition("/")[0])
    if "/" in name:
        card.preset(name.partition("/")[2])  # an unknown preset is an error, not ignored
    if json:
        print_json(as_dict(card))
        return
    print(f"{card.title}  ({card.name})")
    facts = {
        "kind": card.kind,
        "status": card.status,
        "paper": f"{card.paper}, {card.year}" if card.year else card.paper,
        "arXiv": f"https://arxiv.org/abs/{card.arxiv}" if card.arxiv else "",
        "tokens": card.tokens,
        "parts": ", ".join(card.parts),
        "licence": card.licence,
    }
    for label, text in facts.items():
        if text:
            print(f"  {label:8} {text}")
    for point in card.differs:
        print(f"  differs  {point}")
    if card.presets:
        rows = [
            (
                f"{card.name}/{preset.name}",
                preset.tokens,
                f"{preset.parameters:,}",
                f"{preset.weights.source} ({preset.weights.licence})" if preset.weights else "none: train your own",
            )
            for preset in card.presets.values()
        ]
        print_table(("preset", "tokens", "parameters", "weights"), rows, right=("parameters",))
