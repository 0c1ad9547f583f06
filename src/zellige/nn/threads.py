"""CPU inference over pieces of a batch at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in order, as many at a time as torch has threads, which the items share.

    Threads that share every operation wait for the slowest of them at the end of each; with other work on the
    machine, such as decoding JPEG files, that is most of the time. Pieces of a batch need no waiting.

    `function` sees neither autocast nor inference mode of the caller: both belong to a thread.
    """
    count = torch.get_num_threads()
    share = max(1, count // max(1, len(items)))

    def apart(item: Item) -> Result:
        torch.set_num_threads(share)
        return function(item)

    try:
        return list(_pool(count, os.getpid()).map(apart, items))
    finally:
        torch.set_num_threads(count)  # part of the setting belongs to the whole process


@cache
def _pool(count: int, _process: int) -> ThreadPoolExecutor:
    """Threads that are kept: new ones would each take memory of their own again. A forked process has none of them."""
    return ThreadPoolExecutor(count, thread_name_prefix="zellige-compute")
