"""Names to cards to classes."""

from __future__ import annotations

import pytest

from zellige.core import registry
from zellige.core.errors import UsageError

PLANNED = next(card.name for card in registry.cards().values() if card.status == "planned")


def test_a_name_without_preset_is_its_first_preset() -> None:
    card, preset = registry.resolve("zellige-photo")
    assert preset.name == next(iter(card.presets))


def test_overrides_replace_settings() -> None:
    assert registry.build("zellige-photo", channels=16).config.channels == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("robustok", "did you mean robusttok"),
        ("zellige-photo/f9", "unknown preset of zellige-photo 'f9'; did you mean f8"),
        (PLANNED, "planned"),
    ],
)
def test_wrong_names_are_answered(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.build(name)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UsageError, match="no setting 'chanels'"):
        registry.build("zellige-photo", chanels=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "instance"}, "unknown norm 'instance'"),
        ({"resample": "bilinear"}, "unknown resampling 'bilinear'"),
        ({"shortcut": "none"}, "unknown shortcut 'none'"),
        ({"pixel_range": "byte"}, "unknown pixel range 'byte'"),
        ({"quantizer": "nonsense"}, "unknown quantizer 'nonsense'"),
        ({"channels": "many"}, "'vqgan/f16' cannot be built with channels='many'"),
        ({"multipliers": 3}, "cannot be built with multipliers=3"),
    ],
)
def test_values_that_make_no_model_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.build("vqgan/f16", **settings)
