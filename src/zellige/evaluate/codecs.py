"""JPEG, WebP and AVIF by Pillow: what an image costs and looks like at each quality.

Real file bytes, headers included, at the image's own size.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features

MAX_SIDE = 16_383
"""WebP's limit, the lowest of the three."""
MAX_PIXELS = 1 << 24
"""Dozens of encodings of a larger image would take minutes."""


@dataclass(frozen=True)
class Codec:
    """One codec and its sweep.

    Attributes:
        name: as printed; `format` as Pillow calls it.
        settings: the options, in words.
        scale: lowest and highest value of the encoder's own scale.
        qualities: those of a curve, ascending.
        options: fixed arguments of the encoder.
    """

    name: str
    format: str
    settings: str
    scale: tuple[int, int]
    qualities: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


JPEG = Codec(
    "JPEG",
    "JPEG",
    "libjpeg-turbo, baseline, optimized tables, 4:2:0",
    (1, 100),
    (1, 3, 6, 12, 25, 50, 80),
    {"optimize": True},
)
WEBP = Codec("WebP", "WEBP", "libwebp, lossy, method 6", (0, 100), (0, 5, 15, 35, 75), {"method": 6})
AVIF = Codec("AVIF", "AVIF", "libavif, speed 6, 4:2:0", (0, 100), (0, 10, 25, 45, 65), {"speed": 6, "max_threads": 1})
CODECS = (JPEG, WEBP, AVIF)


@dataclass(frozen=True)
class Compressed:
    """One image by one codec at one quality: size in bytes, and the decoded uint8 (H, W, 3)."""

    codec: Codec
    quality: int
    size: int
    decoded: np.ndarray


def available() -> tuple[Codec, ...]:
    """The codecs that this Pillow was built with."""
    return tuple(c for c in CODECS if c.format == "JPEG" or features.check(c.format.lower()))


def compress(picture: np.ndarray, codec: Codec, quality: int) -> Compressed:
    """uint8 (H, W, 3) as a file, and as it is read again."""
    return _read_again(_file(Image.fromarray(picture), codec, quality), codec, quality)


def at_bytes(picture: np.ndarray, codec: Codec, size: int) -> Compressed:
    """The lowest quality whose file has at least `size` bytes: the codec never has fewer.

    A file of the lowest quality may be larger by far; one of the highest may be smaller, and is given then.
    """
    image, (low, high) = Image.fromarray(picture), codec.scale
    found: bytes | None = None  # the file of quality `high`
    while low < high:
        middle = (low + high) // 2
        file = _file(image, codec, middle)
        if len(file) >= size:
            found, high = file, middle
        else:
            low = middle + 1
    return _read_again(found or _file(image, codec, low), codec, low)


def storable(picture: np.ndarray) -> bool:
    """Whether every codec takes an image of this size, in reasonable time."""
    height, width = picture.shape[:2]
    return max(height, width) <= MAX_SIDE and height * width <= MAX_PIXELS


def _file(image: Image.Image, codec: Codec, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, codec.format, quality=quality, **codec.options)
    return file.getvalue()


def _read_again(file: bytes, codec: Codec, quality: int) -> Compressed:
    return Compressed(codec, quality, len(file), np.array(Image.open(io.BytesIO(file)).convert("RGB")))
