"""Images of many sizes in batches of one size, in bounded memory.

Legend: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from zellige.core.pixels import from_uint8, pad_to_multiple
from zellige.data import ImageRecord

BATCH_PIXELS = 4 << 20  # of one batch, so that many large photographs do not fill the memory
WINDOW_PIXELS = 32 << 20  # of the images that wait for others of their size: 96 MB


def by_size(images: Iterable[ImageRecord], stride: int, batch_size: int) -> Iterator[list[ImageRecord]]:
    """Batches of at most `batch_size` images whose sizes are equal once padded to `stride`.

    Images wait until their batch is full. When more than `WINDOW_PIXELS` wait, the size that holds
    most of them goes first, so memory does not depend on the number of images.
    """
    waiting: dict[tuple[int, int], list[ImageRecord]] = {}
    held = 0
    for record in images:
        height, width = (-(-side // stride) * stride for side in record.image.shape[:2])
        due = (height, width)
        group = waiting.setdefault(due, [])
        group.append(record)
        held += height * width
        if len(group) < batch_size and (len(group) + 1) * height * width <= BATCH_PIXELS:
            if held <= WINDOW_PIXELS:
                continue
            due = max(waiting, key=lambda size: size[0] * size[1] * len(waiting[size]))
        batch = waiting.pop(due)
        held -= due[0] * due[1] * len(batch)
        yield batch
    yield from waiting.values()


def stack(batch: list[ImageRecord], stride: int) -> Tensor:
    """Float pixels (B, 3, H, W) in [-1, 1] of a batch from `by_size`, padded by edge replication."""
    return torch.cat([pad_to_multiple(from_uint8(record.image), stride) for record in batch])
