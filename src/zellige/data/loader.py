"""Batches for the training loop: endless, shuffled, resumable to the bit.

Legend: B samples, S side of a crop, n images a batch (B / crops an image).

A source that can be indexed is drawn by number: the k-th image of the run is a fixed function of the seed
and k (one permutation an epoch), and so are its crops. Batch i is therefore a fixed function of the seed
and i, the state is i alone, and it is the same for all ranks. Other sources are read as a stream through a
shuffle buffer; their state is how many images were drawn, and resuming reads up to there without decoding.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.pixels import from_uint8
from zellige.data.area import ByArea
from zellige.data.parallel import ordered_map
from zellige.data.shuffle import epoch_order, shuffled
from zellige.data.source import Entry, ImageSource, reason_of
from zellige.data.transforms import Crop, RandomScaleCrop

ORDER, CROPS = 0, 1
"""First words of the random streams: which image, and which crops of it."""


@dataclass(frozen=True)
class LabelledBatch:
    """Crops, and the class and the caption of the image that each is of.

    Attributes:
        pixels: float (B, 3, S, S) in [-1, 1].
        labels, texts: one a crop; None where the source has none.
    """

    pixels: Tensor
    labels: list[int | None]
    texts: list[str | None]


class TrainStream:
    """An endless stream of training crops, float (B, 3, S, S) in [-1, 1].

    Args:
        source: where the images come from; its `skipped` gets the broken ones, each once.
        crop: side S of random-scale crops, or another `Crop`.
        batch_size: crops in a batch, B, on this rank.
        seed: of the order and the crops.
        crops_per_image: crops taken from one decoded image; they share a batch. Saves decoding.
        min_side: images with a shorter side are left out.
        area: draw an image once an epoch for every so many pixels of it, at least once; None draws each once.
        rank: number of this process among `world` that train together; each gets its own images.
        workers: decoding threads; as the source's unless told.
        buffer: images in the shuffle buffer of a source that cannot be indexed.

    Raises:
        UsageError: there is no image, or the source cannot be drawn by area.
        DataError: none is left once the broken and the small ones are left out.
    """

    def __init__(
        self,
        source: ImageSource,
        crop: int | Crop,
        batch_size: int,
        *,
        seed: int = 0,
        crops_per_image: int = 1,
        min_side: int = 1,
        area: int | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int | None = None,
        buffer: int = 1_000,
    ) -> None:
        if batch_size % crops_per_image:
            raise UsageError(f"batch_size {batch_size} is not a multiple of crops_per_image {crops_per_image}")
        self.source = source
        self.crop: Crop = RandomScaleCrop(crop) if isinstance(crop, int) else crop
        self.images_per_batch = batch_size // crops_per_image
        self.crops_per_image = crops_per_image
        self.seed, self.min_side = seed, min_side
        self.rank, self.world = rank, world
        self.workers = source.workers if workers is None else workers
        self.buffer = buffer
        self.index = source.index()
        self.drawn = 0
        self._left_out: set[str] = set()
        self._lock = threading.Lock()
        if self.index is not None and len(self.index) == 0:
            raise self._nothing_left(0)
        if area is not None:
            if self.index is None:
                raise UsageError(f"{source.name} is only read from front to back: its images cannot be drawn by area")
            self.index = ByArea(self.index, area, self.workers)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches from where the state says on."""
        return (batch.pixels for batch in self.labelled())

    def labelled(self) -> Iterator[LabelledBatch]:
        """As iteration, each batch with what the source says of its images."""
        images = self._stream() if self.index is None else self._indexed(self.index)
        while True:
            group = [next(images) for _ in range(self.images_per_batch)]
            self.drawn = group[-1][0]
            entries = [entry for _, _, entry in group for _ in range(self.crops_per_image)]
            yield LabelledBatch(
                from_uint8(np.concatenate([crops for _, crops, _ in group])),
                [entry.label for entry in entries],
                [entry.text for entry in entries],
            )

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: after the last batch that was taken, whatever was read ahead."""
        return {"drawn": self.drawn, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the next batch is the one that would have followed."""
        self.drawn, self.seed = int(state["drawn"]), int(state["seed"])

    def _indexed(self, index: Sequence[Entry]) -> Iterator[tuple[int, np.ndarray, Entry]]:
        """Draws from `self.drawn` on: how many were drawn then, crops (crops an image, S, S, 3), and of what."""

        def load(draw: int) -> tuple[int, np.ndarray, Entry]:
            batch, place = divmod(draw, self.images_per_batch)
            slot = (batch * self.world + self.rank) * self.images_per_batch + place
            epoch, start = divmod(slot, len(index))
            order = epoch_order(len(index), (self.seed, ORDER, epoch))
            for step in range(len(index)):  # a broken image gives its place to the next one
                entry = index[int(order[(start + step) % len(index)])]
                crops = self._crops(entry, slot)
                if crops is not None:
                    return draw + 1, crops, entry
            raise self._nothing_left(len(index))

        return ordered_map(load, itertools.count(self.drawn), self.workers, ahead=2 * self.images_per_batch)

    def _stream(self) -> Iterator[tuple[int, np.ndarray, Entry]]:
        """As `_indexed`, for a source that is only read from front to back."""

        def load(draw: tuple[int, Entry]) -> tuple[int, np.ndarray | None, Entry]:
            return draw[0] + 1, self._crops(draw[1], draw[0] * self.world + self.rank), draw[1]

        barren = 0
        for drawn, crops, entry in ordered_map(load, self._draws(), self.workers, ahead=2 * self.images_per_batch):
            barren = 0 if crops is not None else barren + 1
            if crops is not None:
                yield drawn, crops, entry
            elif self._epoch_length is not None and barren > self._epoch_length:
                raise self._nothing_left(barren)

    def _draws(self) -> Iterator[tuple[int, Entry]]:
        """Numbered entries of this rank, epoch after epoch, without those drawn before."""
        draw, epoch = 0, 0
        self._epoch_length: int | None = None
        while True:
            before = draw
            rng = np.random.default_rng((self.seed, ORDER, epoch))
            for place, entry in enumerate(shuffled(self.source.entries(rng), self.buffer, rng)):
                if place % self.world == self.rank:
                    if draw >= self.drawn:
                        yield draw, entry
                    draw += 1
            if draw == before:
                raise self._nothing_left(0)
            self._epoch_length, epoch = draw - before, epoch + 1

    def _crops(self, entry: Entry, slot: int) -> np.ndarray | None:
        """Crops of one image, uint8 (crops an image, S, S, 3); None if it is broken or too small."""
        enough = self.crop.short_side()
        try:
            image = entry.decode(None if enough is None else max(enough, self.min_side)).pixels
            if min(image.shape[:2]) < self.min_side:
                raise DataError(f"is smaller than {self.min_side} pixels on a side")
        except ZelligeError as error:
            with self._lock:
                if entry.key not in self._left_out:
                    self._left_out.add(entry.key)
                    self.source.skip(entry.key, reason_of(entry, error))
            return None
        rng = np.random.default_rng((self.seed, CROPS, slot))
        return np.stack([self.crop(image, rng) for _ in range(self.crops_per_image)])

    def _nothing_left(self, tried: int) -> ZelligeError:
        if not tried:
            return UsageError(f"{self.source.name} holds no images for rank {self.rank} of {self.world}")
        first = "".join(f"; the first: {skipped.key} {skipped.reason}" for skipped in self.source.skipped[:1])
        return DataError(f"no usable image in {self.source.name}: all {tried} were left out{first}")
