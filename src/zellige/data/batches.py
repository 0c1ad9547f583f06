"""Images of many sizes in batches of one size, in bounded memory.

Legend: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from zellige.core.pixels import from_uint8, pad_to_multiple
from zellige.data.source import ImageInfo, ImageRecord

BATCH_PIXELS = 4 << 20
"""Pixels of a batch at most, so that many large photographs do not fill the memory: they come one by one."""
WAITING_PIXELS = 32 << 20
"""Pixels of the images that wait for others of their size: 96 MB."""

Item = TypeVar("Item")


def by_size(items: Iterable[Item], batch_size: int, size_of: Callable[[Item], tuple[int, int]]) -> Iterator[list[Item]]:
    """Batches of at most `batch_size` items of the same size, (height, width) in pixels.

    Items wait until their batch is full. When more than `WAITING_PIXELS` wait, the size that holds most of
    them goes first, so memory does not depend on the number of images.
    """
    waiting: dict[tuple[int, int], list[Item]] = {}
    held = 0
    for item in items:
        size = size_of(item)
        pixels = size[0] * size[1]
        group = waiting.setdefault(size, [])
        group.append(item)
        held += pixels
        if len(group) == batch_size or (len(group) + 1) * pixels > BATCH_PIXELS:
            due = size
        elif held > WAITING_PIXELS:
            due = max(waiting, key=lambda s: s[0] * s[1] * len(waiting[s]))
        else:
            continue
        batch = waiting.pop(due)
        held -= due[0] * due[1] * len(batch)
        yield batch
    yield from waiting.values()


def padded_size(image: ImageInfo, stride: int) -> tuple[int, int]:
    """Height and width of an image once `stride` divides them."""
    return -(-image.height // stride) * stride, -(-image.width // stride) * stride


def stack(records: Iterable[ImageRecord], stride: int = 1) -> Tensor:
    """Float pixels (B, 3, H, W) in [-1, 1] of images of one `padded_size`, padded by edge replication."""
    return torch.cat([pad_to_multiple(from_uint8(record.image), stride) for record in records])
