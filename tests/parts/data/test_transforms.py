"""Crops and scalings, on images that are drawn here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zellige.core.errors import UsageError
from zellige.data.transforms import (
    RESAMPLES,
    RandomCrop,
    RandomScaleCrop,
    center_crop,
    center_crop_adm,
    random_crop,
    random_flip,
    random_scale_crop,
    resize,
    resize_short_side,
)

sides = st.integers(1, 90)


def drawn(height: int, width: int) -> np.ndarray:
    """Noise, so that no two places look alike."""
    return np.random.default_rng(height * 1_000 + width).integers(0, 256, (height, width, 3), np.uint8)


@given(sides, sides, st.integers(1, 64), st.integers(0, 99))
def test_every_crop_has_its_size_whatever_the_image(height: int, width: int, size: int, seed: int) -> None:
    image = drawn(height, width)
    rng = np.random.default_rng(seed)
    crops = [
        center_crop(image, size),
        center_crop_adm(image, size),
        random_crop(image, size, rng),
        random_scale_crop(image, size, rng),
        RandomCrop(size, resize=size + 3)(image, rng),
        RandomScaleCrop(size, shares=(0.1, 0.2))(image, rng),
    ]
    assert {crop.shape for crop in crops} == {(size, size, 3)}
    assert {crop.dtype for crop in crops} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("crop", [center_crop, center_crop_adm])
def test_a_very_long_image_is_cut_before_it_is_enlarged(crop: Callable[[np.ndarray, int], np.ndarray]) -> None:
    image = np.zeros((2, 100_000, 3), np.uint8)  # enlarged as a whole it would have 6.5 gigapixels
    image[:, 49_990:50_010] = 255
    assert crop(image, 256).min() == 255
    assert crop(image.transpose(1, 0, 2), 256).min() == 255


@given(sides, sides, st.integers(1, 64))
def test_short_side_becomes_what_was_asked_and_the_shape_stays(height: int, width: int, size: int) -> None:
    scaled = resize_short_side(drawn(height, width), size)
    assert min(scaled.shape[:2]) == size
    ideal = max(height, width) * size / min(height, width)
    assert abs(max(scaled.shape[:2]) - ideal) <= 0.5


@pytest.mark.parametrize("resample", RESAMPLES)
def test_resize_is_pillows(resample: str) -> None:
    image = drawn(37, 53)
    expected = np.asarray(Image.fromarray(image).resize((19, 23), RESAMPLES[resample]))
    np.testing.assert_array_equal(resize(image, 23, 19, resample=resample), expected)


def test_unknown_resampling_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown resampling 'cubic'; known: nearest"):
        resize(drawn(4, 4), 2, 2, resample="cubic")


def test_center_crop_takes_the_middle_rounding_down() -> None:
    image = drawn(11, 8)
    np.testing.assert_array_equal(center_crop(image, 4), image[3:7, 2:6])


@pytest.mark.parametrize(("height", "width", "size"), [(153, 191, 64), (160, 90, 64), (400, 300, 64), (40, 50, 64)])
def test_adm_crop_halves_by_box_then_scales_by_bicubic_then_cuts(height: int, width: int, size: int) -> None:
    """The protocol written out: how often it halves is the short side's distance from 2·size."""
    image = drawn(height, width)
    halvings = 0
    while min(height, width) >> halvings >= 2 * size:
        halvings += 1
    pil = Image.fromarray(image)
    for _ in range(halvings):
        pil = pil.resize((pil.width // 2, pil.height // 2), Image.Resampling.BOX)
    scale = size / min(pil.size)
    pil = pil.resize((round(pil.width * scale), round(pil.height * scale)), Image.Resampling.BICUBIC)
    left, top = (pil.width - size) // 2, (pil.height - size) // 2
    expected = np.asarray(pil.crop((left, top, left + size, top + size)))
    np.testing.assert_array_equal(center_crop_adm(image, size), expected)


def test_random_crop_reaches_every_place_and_nothing_else() -> None:
    image = drawn(6, 5)
    rng = np.random.default_rng(0)
    windows = {image[y : y + 4, x : x + 4].tobytes() for y in range(3) for x in range(2)}
    assert {random_crop(image, 4, rng).tobytes() for _ in range(200)} == windows


def test_random_scale_crop_makes_up_no_detail_where_there_are_pixels_enough() -> None:
    image = drawn(40, 60)
    for seed in range(50):
        crop = random_scale_crop(image, 40, np.random.default_rng(seed), shares=(0.1, 1.0))
        assert any(np.array_equal(crop, image[:, x : x + 40]) for x in range(21))


def test_same_generator_same_crop_other_generator_another() -> None:
    image = drawn(90, 120)
    take = RandomScaleCrop(32)
    first, again, other = (take(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_flip_mirrors_left_to_right_half_of_the_time() -> None:
    image = drawn(3, 5)
    rng = np.random.default_rng(0)
    flips = [random_flip(image, rng) for _ in range(400)]
    mirrored = sum(np.array_equal(flip, image[:, ::-1]) for flip in flips)
    assert mirrored + sum(np.array_equal(flip, image) for flip in flips) == 400
    assert 150 < mirrored < 250
