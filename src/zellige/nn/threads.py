"""CPU inference over pieces of a batch, one thread to a piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in order, as many at a time as torch has threads and each within one of them.

    Threads that share every operation wait for the slowest of them at the end of each; with other work on the
    machine, such as decoding JPEG files, that is most of the time. Pieces of a batch need no waiting.

    `function` sees neither autocast nor inference mode of the caller: both belong to a thread.
    """
    count = torch.get_num_threads()

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)
        return function(item)

    try:
        with ThreadPoolExecutor(count, thread_name_prefix="zellige-compute") as pool:
            return list(pool.map(alone, items))
    finally:
        torch.set_num_threads(count)  # part of the setting belongs to the whole process
