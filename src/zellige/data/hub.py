"""Data sets on the Hugging Face Hub, streamed by `datasets`: ``hf:owner/name`` or ``hf:owner/name:split``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import RepositoryNotFoundError

from zellige.core.errors import DataError, MissingExtra, UsageError, reason
from zellige.data.parquet import Columns
from zellige.data.source import Entry, ImageSource


class HubDataset(ImageSource):
    """A data set that is streamed: nothing is stored on disk. The split is ``train`` unless named."""

    def __init__(self, name: str, *, workers: int | None = None) -> None:
        super().__init__(name, workers=workers)
        self.repository, _, split = name.removeprefix("hf:").partition(":")
        self.split = split or "train"
        if not self.repository:
            raise UsageError(f"'{name}' names no data set; write hf:owner/name or hf:owner/name:split")
        self._data = self._open()
        self._columns = Columns.of(self._data.features.arrow_schema, name)
        splits = self._data.info.splits or {}
        self._length = splits[self.split].num_examples if self.split in splits else None

    @property
    def length(self) -> int | None:
        return self._length

    def entries(self, order: np.random.Generator | None = None) -> Iterator[Entry]:
        data = self._data
        if order is not None:  # shards in random order; a buffer of one leaves their rows as they are
            data = data.shuffle(seed=int(order.integers(2**31)), buffer_size=1)
        try:
            for number, row in enumerate(data):
                yield self._columns.entry(f"{number:08d}", self._with_bytes(row), {})
        except Exception as error:  # whatever the network and the set's files can raise
            raise DataError(f"{self.name} stopped: {reason(error)}; is there a network?") from error

    def _open(self) -> Any:
        try:
            from datasets import Image, load_dataset
        except ImportError as error:
            raise MissingExtra("datasets", "data") from error
        try:
            HfApi().dataset_info(self.repository, timeout=10)  # `datasets` itself would retry for half a minute
            data = load_dataset(self.repository, split=self.split, streaming=True)
            if data.features is None:
                data = data._resolve_features()
            for column, kind in data.features.items():
                if isinstance(kind, Image):
                    data = data.cast_column(column, Image(decode=False))
        except RepositoryNotFoundError as error:
            raise UsageError(f"the Hub has no data set '{self.repository}', or it is not public") from error
        except ValueError as error:  # an unknown split or configuration; the message lists those there are
            raise UsageError(f"{self.name} cannot be opened: {reason(error)}") from error
        except Exception as error:
            raise DataError(f"{self.name} cannot be opened: {reason(error)}; is there a network?") from error
        return data

    def _with_bytes(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row; an image that is a file of the repository is fetched. No other path is followed."""
        image = row[self._columns.image]
        if isinstance(image, dict) and not image.get("bytes"):
            path = image.get("path") or ""
            if path.startswith("hf://datasets/"):
                return {**row, self._columns.image: HfFileSystem().cat_file(path)}
        return row
