"""Random order: a permutation an epoch where entries have numbers, a shuffle buffer where they come as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


@lru_cache(maxsize=2)  # this epoch and the next, which is read ahead
def epoch_order(length: int, seed: tuple[int, ...]) -> np.ndarray:
    """A permutation of 0…`length`-1, always the same for the same seed."""
    order = np.random.default_rng(seed).permutation(length).astype(np.uint32)
    order.flags.writeable = False
    return order


def shuffled(items: Iterator[Item], buffer: int, rng: np.random.Generator) -> Iterator[Item]:
    """All `items`, each given out from a random place of a buffer of `buffer` items."""
    held: list[Item] = []
    for item in items:
        if len(held) < buffer:
            held.append(item)
            continue
        place = int(rng.integers(buffer))
        held[place], item = item, held[place]
        yield item
    for place in rng.permutation(len(held)):
        yield held[place]
