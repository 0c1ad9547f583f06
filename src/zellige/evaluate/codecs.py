"""JPEG, WebP and AVIF by Pillow: what an image costs and looks like at each quality.

Real file bytes, headers included, at the image's own size.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features

from zellige.data.parallel import ordered_map

MAX_SIDE = 16_383
"""WebP's limit, the lowest of the three."""
MAX_PIXELS = 1 << 24
"""Twenty encodings of a larger image would take minutes."""


@dataclass(frozen=True)
class Codec:
    """One codec and its sweep.

    Attributes:
        name: as printed; `format` as Pillow calls it.
        settings: the options, in words.
        qualities: the encoder's own scale, ascending.
        options: fixed arguments of the encoder.
    """

    name: str
    format: str
    settings: str
    qualities: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


CODECS = (
    Codec("JPEG", "JPEG", "libjpeg-turbo, optimized tables, 4:2:0", (1, 5, 10, 20, 35, 60, 85), {"optimize": True}),
    Codec("WebP", "WEBP", "libwebp, lossy, method 6", (0, 5, 15, 30, 55, 80), {"method": 6}),
    Codec("AVIF", "AVIF", "libavif, speed 6, 4:2:0", (0, 10, 20, 30, 45, 60, 75), {"speed": 6, "max_threads": 1}),
)


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


def sweep(picture: np.ndarray, codecs: tuple[Codec, ...], workers: int) -> Iterator[Compressed]:
    """uint8 (H, W, 3) by every codec at every quality, in order, a few computed ahead by `workers` threads."""

    def compress(job: tuple[Codec, int]) -> Compressed:
        codec, quality = job
        file = io.BytesIO()
        Image.fromarray(picture).save(file, codec.format, quality=quality, **codec.options)
        return Compressed(codec, quality, file.tell(), np.array(Image.open(file).convert("RGB")))

    jobs = [(codec, quality) for codec in codecs for quality in codec.qualities]
    return ordered_map(compress, jobs, workers)


def storable(picture: np.ndarray) -> bool:
    """Whether every codec takes an image of this size, in reasonable time."""
    height, width = picture.shape[:2]
    return max(height, width) <= MAX_SIDE and height * width <= MAX_PIXELS
