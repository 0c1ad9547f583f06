"""Drawing images by their area, so that a large photograph gives as many crops a pixel as a small one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zellige.core.errors import ZelligeError
from zellige.data.parallel import ordered_map
from zellige.data.source import Entry


class ByArea(Sequence[Entry]):
    """The entries of an index, each as often as whole shares of `unit` pixels fit into it, at least once.

    Sizes come from the headers, which are all read at the start. A file that has none counts once: it is
    left out, and named, when its turn comes.
    """

    def __init__(self, index: Sequence[Entry], unit: int, workers: int) -> None:
        self._index = index
        numbers = range(len(index))
        shares = ordered_map(lambda i: max(1, _area(index[i]) // unit), numbers, workers, ahead=64)
        self._ends = np.cumsum(np.fromiter(shares, np.int64, len(index)))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> Entry:  # type: ignore[override]  # slices have no use here
        return self._index[int(np.searchsorted(self._ends, number, side="right"))]


def _area(entry: Entry) -> int:
    try:
        width, height = entry.size()
    except ZelligeError:
        return 0
    return width * height
