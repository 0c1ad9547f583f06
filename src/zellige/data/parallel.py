"""A bounded, ordered map over threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """CPUs that this process may use, which affinity or a container's quota make fewer than there are."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().partition(" ")
        if limit.isdigit() and period.strip().isdigit():
            count = min(count, max(1, round(int(limit) / int(period))))
    return count


def default_workers() -> int:
    """Threads that decoding uses unless told: the usable CPUs, at most 8."""
    return min(8, usable_cpus())


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
