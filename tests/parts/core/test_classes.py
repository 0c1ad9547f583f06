"""Classes by number and by name, and pictures side by side."""

from __future__ import annotations

import numpy as np
import pytest

from zellige.core.condition import classes_called
from zellige.core.errors import UsageError
from zellige.core.images import tile

NAMES = ("Animals/bird", "Animals/fish", "Sea", "Sea/fish")


@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        ("2", [2]),
        ("sea", [2]),
        ("Animals", [0, 1]),
        ("animals/BIRD", [0]),
        ("bird", [0]),
        ("fish", [1, 3]),
    ],
)
def test_classes_by_number_by_path_and_by_a_part_of_it(asked: str, labels: list[int]) -> None:
    assert classes_called(asked, 4, NAMES, "toy") == labels


@pytest.mark.parametrize(
    ("asked", "names", "message"),
    [
        ("4", NAMES, "no class 4"),
        ("-1", NAMES, "no class -1"),
        ("brd", NAMES, "unknown class of toy 'brd'; did you mean bird"),
        ("bird", (), "have numbers, 0 to 3, and no names"),
        ("0", (), None),
    ],
)
def test_classes_that_are_not_there(asked: str, names: tuple[str, ...], message: str | None) -> None:
    if message is None:
        assert classes_called(asked, 4, names, "toy") == [0]
        return
    with pytest.raises(UsageError, match=message):
        classes_called(asked, 4, names, "toy")


def test_pictures_side_by_side() -> None:
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 2, 4, 3), np.uint8)
    sheet = tile(images, 2)
    assert sheet.shape == (4, 8, 3)
    assert sheet[::2, ::4, 0].tolist() == [[0, 1], [2, 255]]
    assert tile(images, 9).shape == (2, 12, 3)
