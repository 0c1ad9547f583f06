"""What callers pass as an image, as pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from zellige.core.errors import UsageError
from zellige.core.pixels import from_uint8, pad_to_multiple, to_pixels, to_uint8


def test_every_level_survives_the_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    pixels = from_uint8(levels)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert np.array_equal(to_uint8(pixels)[0], levels)


def test_arrays_that_cannot_be_written_to_are_taken_without_a_warning() -> None:
    array = np.frombuffer(bytes(range(12)), np.uint8).reshape(2, 2, 3)
    assert from_uint8(array).shape == (1, 3, 2, 2)


def test_an_image_an_array_and_a_tensor_are_the_same_pixels() -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    expected = from_uint8(array)
    for given in (array, torch.from_numpy(array), Image.fromarray(array), expected):
        assert torch.equal(to_pixels(given), expected)


def test_padding_repeats_the_edge() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :2, :3], x)
    assert padded[0, 0, 3].tolist() == [3, 4, 5, 5]
    assert pad_to_multiple(torch.zeros(2, 3, 5, 6, 6), 4).shape == (2, 3, 5, 8, 8)


@pytest.mark.parametrize(
    "given", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), np.zeros((8, 8, 3)), np.zeros((8, 8))]
)
def test_other_shapes_and_types_are_refused(given: object) -> None:
    with pytest.raises(UsageError):
        to_pixels(given)
