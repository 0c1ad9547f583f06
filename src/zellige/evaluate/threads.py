"""Several computations side by side on few cores, each in one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from zellige.data.parallel import ordered_map

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in order; one after the other, on all cores, where those outnumber the items.

    Threads of one operation wait for each other at every step, which on a busy machine takes twenty
    times as long as the work (MS-SSIM on two cores); threads of several operations need not.
    """
    cores = torch.get_num_threads()
    if cores > len(items):
        return [function(item) for item in items]
    torch.set_num_threads(1)  # threads that start now take it over
    try:
        return list(ordered_map(function, items, cores))
    finally:
        torch.set_num_threads(cores)
