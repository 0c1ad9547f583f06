"""A bounded, ordered map over threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """Threads that decoding uses unless told: the cores this process may use, at most 8."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ahead: int = 0
) -> Iterator[Result]:
    """`function` of each item, in order, computed by `workers` threads.

    They work up to `ahead` items ahead of the caller, at least 2·`workers`. `items` is read in the caller's
    thread. With no workers everything happens in the caller's thread.
    """
    if workers == 0:
        yield from map(function, items)
        return
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="zellige-data")
    pending: deque[Future[Result]] = deque()
    try:
        pending.extend(pool.submit(function, item) for item in islice(source, max(ahead, 2 * workers)))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(source, 1))
            yield result
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown(wait=False)  # may run while the interpreter ends, when waiting is no longer possible
