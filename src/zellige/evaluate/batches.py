"""Images of many sizes in batches of one size, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zellige.data import ImageRecord

BATCH_PIXELS = 4 << 20
"""Pixels of a batch: large photographs come one by one."""
WAITING_PIXELS = 32 << 20
"""Pixels of the images that wait for others of their size: 96 MB."""

Numbered = tuple[int, ImageRecord]


def by_size(records: Iterable[ImageRecord], batch_size: int) -> Iterator[list[Numbered]]:
    """Batches of at most `batch_size` images of exactly the same size, each with its number in the stream.

    When too many pixels wait, the size that holds most of them goes first.
    """
    waiting: dict[tuple[int, int], list[Numbered]] = {}
    held = 0
    for number, record in enumerate(records):
        height, width = record.image.shape[:2]
        size = (height, width)
        group = waiting.setdefault(size, [])
        group.append((number, record))
        held += height * width
        if len(group) == batch_size or (len(group) + 1) * height * width > BATCH_PIXELS:
            due = size
        elif held > WAITING_PIXELS:
            due = max(waiting, key=lambda s: s[0] * s[1] * len(waiting[s]))
        else:
            continue
        batch = waiting.pop(due)
        held -= due[0] * due[1] * len(batch)
        yield batch
    yield from waiting.values()
