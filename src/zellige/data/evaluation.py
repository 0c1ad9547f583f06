"""Batches for evaluating: every image once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.pixels import from_uint8
from zellige.data.source import ImageRecord, ImageSource
from zellige.data.transforms import center_crop_adm


@dataclass(frozen=True)
class EvalBatch:
    """Some images of one size.

    Attributes:
        keys: their names in the source.
        pixels: float (B, 3, H, W) in [-1, 1].
        labels: their classes, None where the source has none.
    """

    keys: list[str]
    pixels: Tensor
    labels: list[int | None]


class EvalStream:
    """Every image of a source once, in order, as batches of at most `batch_size` images of one size.

    Args:
        source: where the images come from; after a pass its `skipped` names the broken ones.
        batch_size: most images in a batch. At their own size only neighbours of equal size share one.
        crop: side of the centre crop (`center_crop_adm`); None leaves the images at their own size.

    Raises:
        UsageError: no image could be read.
    """

    def __init__(self, source: ImageSource, batch_size: int = 1, *, crop: int | None = None) -> None:
        self.source, self.batch_size, self.crop = source, batch_size, crop

    def __iter__(self) -> Iterator[EvalBatch]:
        held: list[tuple[ImageRecord, np.ndarray]] = []
        record = None
        for record in self.source:
            image = record.image if self.crop is None else center_crop_adm(record.image, self.crop)
            if held and (len(held) == self.batch_size or held[0][1].shape != image.shape):
                yield _batch(held)
                held = []
            held.append((record, image))
        if record is None:
            first = "".join(f"; the first: {skipped.key} {skipped.reason}" for skipped in self.source.skipped[:1])
            raise UsageError(f"no image of {self.source.name} could be read{first}")
        yield _batch(held)


def _batch(held: list[tuple[ImageRecord, np.ndarray]]) -> EvalBatch:
    pixels = from_uint8(np.stack([image for _, image in held]))
    return EvalBatch([record.key for record, _ in held], pixels, [record.label for record, _ in held])
