"""Batches of one size: nothing is lost, nothing waits without bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.data import ImageRecord, batches
from zellige.data.batches import by_size, padded_size, stack

SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=30)


def record(height: int, width: int) -> ImageRecord:
    draw = np.random.default_rng((height, width))
    return ImageRecord(f"{height}×{width}", draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(deadline=None)
@given(SIZES, st.integers(1, 5))
def test_every_item_comes_once_beside_its_like(sizes: list[tuple[int, int]], batch_size: int) -> None:
    items = list(enumerate(sizes))
    found = list(by_size(items, batch_size, lambda item: item[1]))
    assert sorted(item for batch in found for item in batch) == items
    for batch in found:
        assert len({size for _, size in batch}) == 1
        assert len(batch) <= batch_size
        assert batch == sorted(batch)


@settings(deadline=None)
@given(SIZES)
def test_what_waits_and_what_is_stacked_is_bounded(sizes: list[tuple[int, int]]) -> None:
    read: list[tuple[int, int]] = []

    def stream() -> object:
        for size in sizes:
            read.append(size)
            yield size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH_PIXELS", 8)
        patch.setattr(batches, "WAITING_PIXELS", 20)
        given_out = 0
        for batch in by_size(stream(), 100, lambda size: size):  # type: ignore[arg-type]
            pixels = [height * width for height, width in batch]
            assert len(batch) == 1 or sum(pixels) <= 8
            given_out += sum(pixels)
            # At most the window and the image that was read last.
            assert sum(height * width for height, width in read) - given_out <= 20 + 16


def test_images_are_padded_to_a_common_size() -> None:
    records = [record(5, 7), record(6, 8)]
    assert [padded_size(r, 4) for r in records] == [(8, 8), (8, 8)]
    pixels = stack(records, 4)
    assert pixels.shape == (2, 3, 8, 8)
    assert torch.equal(pixels[0, :, 5:, :7], pixels[0, :, 4:5, :7].expand(-1, 3, -1))
    assert stack([record(5, 7)]).shape == (1, 3, 5, 7)
