"""Resizing and cropping of images, uint8 (H, W, 3) in and out.

Every random choice is drawn from the generator that is passed in, so that the same generator state gives
the same crop. Images smaller than a crop are enlarged to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from zellige.core.errors import UsageError

RESAMPLES = {name.lower(): kernel for name, kernel in Image.Resampling.__members__.items()}
"""Resampling kernels by name: nearest, box, bilinear, hamming, bicubic, lanczos; all antialias but nearest."""

EXTREME = 16
"""Long sides of more than so many short ones are cut before an image is scaled up: memory would have no bound."""


def resize(image: np.ndarray, height: int, width: int, *, resample: str = "bicubic") -> np.ndarray:
    """Scale to exactly `height` × `width`."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), _kernel(resample)))


def resize_short_side(image: np.ndarray, size: int, *, resample: str = "bicubic") -> np.ndarray:
    """Scale so that the short side is `size`; the long side is rounded to nearest."""
    height, width = image.shape[:2]
    scale = size / min(height, width)
    return resize(image, max(size, round(height * scale)), max(size, round(width * scale)), resample=resample)


def center_crop(image: np.ndarray, size: int, *, resample: str = "bicubic") -> np.ndarray:
    """The central `size` × `size`, offsets rounded down; an image with a shorter side is enlarged first."""
    image = _at_least(_middle(image), size, resample)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def center_crop_adm(image: np.ndarray, size: int) -> np.ndarray:
    """The centre crop that published Fréchet distances on ImageNet are measured with.

    Halve by box filter while the short side is at least 2·`size`, scale the short side to `size` by bicubic
    filter, cut out the centre. Source: guided diffusion (ADM), arXiv 2105.05233.
    """
    image = _middle(image)
    height, width = image.shape[:2]
    while min(height, width) >= 2 * size:
        height, width = height // 2, width // 2
        image = resize(image, height, width, resample="box")
    return center_crop(resize_short_side(image, size), size)


def random_crop(image: np.ndarray, size: int, rng: np.random.Generator, *, resample: str = "bicubic") -> np.ndarray:
    """A `size` × `size` window at a random place; an image with a shorter side is enlarged first."""
    image = _at_least(image, size, resample)
    top = int(rng.integers(image.shape[0] - size + 1))
    left = int(rng.integers(image.shape[1] - size + 1))
    return image[top : top + size, left : left + size]


def random_scale_crop(
    image: np.ndarray,
    size: int,
    rng: np.random.Generator,
    *,
    shares: tuple[float, float] = (0.5, 1.0),
    resample: str = "bicubic",
) -> np.ndarray:
    """A random square of a random side, scaled to `size` × `size`.

    Args:
        image: uint8 (H, W, 3).
        size: side of the result in pixels.
        rng: where the choices are drawn from.
        shares: least and greatest side of the square, as shares of the image's short side. A square is never
            smaller than `size` where the image has that many pixels, so that no detail is made up.
        resample: name of the kernel.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    least = max(shares[0] * short, min(size, shares[1] * short))
    side = max(1, round(rng.uniform(least, max(least, shares[1] * short))))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return resize(image[top : top + side, left : left + side], size, size, resample=resample)


def random_flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored left to right with probability 1/2."""
    return image[:, ::-1] if rng.random() < 0.5 else image


class Crop(Protocol):
    """How one training crop is taken from an image."""

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...

    def short_side(self) -> int | None:
        """Pixels on the short side that suffice; a JPEG may be decoded smaller. None: all of them."""


@dataclass(frozen=True)
class RandomScaleCrop:
    """`random_scale_crop`, then a flip."""

    size: int
    shares: tuple[float, float] = (0.5, 1.0)
    flip: bool = True

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        crop = random_scale_crop(image, self.size, rng, shares=self.shares)
        return random_flip(crop, rng) if self.flip else crop

    def short_side(self) -> int:
        return int(2 * self.size / self.shares[0])


@dataclass(frozen=True)
class RandomCrop:
    """`random_crop` from the image at its own size, or with its short side scaled to `resize`; then a flip."""

    size: int
    resize: int | None = None
    flip: bool = True

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.resize is not None:
            image = resize_short_side(image, self.resize)
        crop = random_crop(image, self.size, rng)
        return random_flip(crop, rng) if self.flip else crop

    def short_side(self) -> int | None:
        return None if self.resize is None else 2 * self.resize


def _middle(image: np.ndarray) -> np.ndarray:
    """What lies around the centre crop of an image of `EXTREME` shape; others as they are."""
    height, width = image.shape[:2]
    keep = 2 * min(height, width)
    if max(height, width) * 2 <= EXTREME * keep:
        return image
    top, left = max(0, (height - keep) // 2), max(0, (width - keep) // 2)
    return image[top : top + keep, left : left + keep]


def _at_least(image: np.ndarray, size: int, resample: str) -> np.ndarray:
    return resize_short_side(image, size, resample=resample) if min(image.shape[:2]) < size else image


def _kernel(resample: str) -> Image.Resampling:
    if resample not in RESAMPLES:
        raise UsageError(f"unknown resampling '{resample}'; known: {', '.join(RESAMPLES)}")
    return RESAMPLES[resample]
