"""Settings that people wrote, checked before anything is built from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from zellige.core.errors import UsageError
from zellige.core.settings import build_from


def box(dim: int, sides: Sequence[int], *, schema: str = "plain", scale: float = 1.0) -> dict[str, Any]:
    if scale < 0:
        raise ValueError("a negative scale")
    return {"dim": dim, "sides": sides, "schema": schema, "scale": scale}


def boxes(dim: int, count: int, **settings: Any) -> list[dict[str, Any]]:
    return [build_from(box, "box", settings, dim=dim) for _ in range(count)]


def test_settings_come_in_the_types_that_are_asked_for() -> None:
    made = build_from(box, "box", {"sides": [2, 3], "scale": "0.5", "schema": "own"}, dim=4)
    assert made == {"dim": 4, "sides": [2, 3], "schema": "own", "scale": 0.5}


def test_settings_of_parts_are_handed_on() -> None:
    assert build_from(boxes, "boxes", {"count": 2, "sides": [1]}, dim=1) == 2 * [box(1, [1])]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sides": [1], "colour": 1}, "box: 'colour': there is no such setting; its settings are sides, schema, scale"),
        ({"sides": [1], "dim": 2}, "'dim': there is no such setting"),
        ({}, "box: 'sides': field required; its settings"),
        ({"sides": 3}, "'sides': input should be an instance of sequence"),
        ({"sides": [1], "schema": 3}, "'schema': input should be a valid string"),
        ({"sides": [1.5]}, "'sides.0': input should be a valid integer"),
        ({"sides": [1], "scale": -1}, "box with .* a negative scale"),
    ],
)
def test_mistakes_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_from(box, "box", settings, dim=1)
    assert "\n" not in str(caught.value)
