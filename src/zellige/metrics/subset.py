"""A random subset of a stream of features, of bounded size.

Each row has a random priority, a hash of the image it describes, and those with the lowest are kept. So the
subset is the same whatever the order, the batches and the workers among which the stream was divided.

Legend: B images, D dimensions.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Self

import torch
from torch import Tensor

_SLACK = 8
"""The subset is cut down whenever it is larger by one part in so many."""


class FeatureSubset:
    """All rows up to `limit`, in the order they came in; beyond, `limit` random ones.

    Args:
        limit: greatest number of rows; None keeps all.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._rows: list[Tensor] = []
        self._priorities: list[bytes] = []

    def update(self, features: Tensor, images: Tensor) -> None:
        """Add rows (B, D) of images, uint8 (B, …)."""
        pixels = images.cpu().contiguous().numpy()
        self._add([features.float().cpu()], [blake2b(image, digest_size=8).digest() for image in pixels])

    def merge(self, other: Self) -> None:
        """Add what `other` kept of another part of the stream, with the same limit."""
        self._add(other._rows, other._priorities)

    def rows(self) -> Tensor:
        """The subset (B, D)."""
        self._cut()
        return torch.cat(self._rows)

    def _add(self, rows: list[Tensor], priorities: list[bytes]) -> None:
        self._rows.extend(rows)
        self._priorities.extend(priorities)
        if self.limit is not None and len(self._priorities) > self.limit + self.limit // _SLACK:
            self._cut()

    def _cut(self) -> None:
        if self.limit is None or len(self._priorities) <= self.limit:
            return
        lowest = sorted(range(len(self._priorities)), key=self._priorities.__getitem__)[: self.limit]
        kept = sorted(lowest)
        self._rows = [torch.cat(self._rows)[kept]]
        self._priorities = [self._priorities[i] for i in kept]
