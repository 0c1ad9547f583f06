"""What every card must say, and the official parameter counts."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from zellige.core.card import Card
from zellige.core.registry import build, cards

AVAILABLE = [card for card in cards().values() if card.status == "available"]
PRESETS = [pytest.param(card, preset, id=f"{card.name}/{preset}") for card in AVAILABLE for preset in card.presets]


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)
def test_card_is_complete(card: Card) -> None:
    assert card.title
    assert card.kind
    assert card.paper
    assert card.status in ("available", "planned")
    assert card.licence
    assert card.arxiv or card.year
    if card.status == "available":
        assert card.entry
        assert card.presets
        assert card.tokens
        assert card.parts
        for part in card.parts:
            assert find_spec(f"zellige.{part.replace('/', '.')}"), f"{card.name}: there is no part {part}"


@pytest.mark.parametrize(("card", "preset"), PRESETS)
def test_parameters_are_those_of_the_card(card: Card, preset: str) -> None:
    with torch.device("meta"):
        model = build(f"{card.name}/{preset}")
    assert sum(p.numel() for p in model.parameters()) == card.preset(preset).parameters


@pytest.mark.parametrize(("card", "preset"), PRESETS)
def test_weights_come_with_their_terms(card: Card, preset: str) -> None:
    found = card.preset(preset)
    assert found.tokens
    if found.weights is not None:
        assert found.weights.source == "bundled" or found.weights.source.startswith("hf:")
        assert found.weights.file
        assert found.weights.licence
