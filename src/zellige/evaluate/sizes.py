"""How images are cropped before they are measured, and what protocols call it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from zellige.data import ImageRecord
from zellige.data.transforms import center_crop_adm


def resize_name(side: int | None) -> str:
    """What protocols call squares of `side`, made by `center_crop_adm`; None is images as they are."""
    return "native size" if side is None else f"short side to {side}, centre crop (ADM)"


def sized(records: Iterable[ImageRecord], side: int | None) -> Iterator[ImageRecord]:
    """The images as squares of `side`; as they are where that is None."""
    for record in records:
        yield record if side is None else replace(record, image=center_crop_adm(record.image, side).copy())
