"""Data sets on the Hugging Face Hub, streamed by `datasets`: ``hf:owner/name`` or ``hf:owner/name:split``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zellige.core.errors import DataError, MissingExtra, UsageError
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
        try:
            for number, row in enumerate(self._data):
                yield self._columns.entry(f"{number:08d}", row)
        except Exception as error:  # whatever the network and the data set's files can raise
            raise DataError(f"{self.name} stopped: {_reason(error)}") from error

    def _open(self) -> Any:
        try:
            from datasets import Image, load_dataset
        except ImportError as error:
            raise MissingExtra("datasets", "data") from error
        try:
            data = load_dataset(self.repository, split=self.split, streaming=True)
            if data.features is None:
                data = data._resolve_features()
            for column, kind in data.features.items():
                if isinstance(kind, Image):
                    data = data.cast_column(column, Image(decode=False))
        except Exception as error:
            raise DataError(f"{self.name} cannot be opened: {_reason(error)}") from error
        return data


def _reason(error: Exception) -> str:
    return f"{(str(error) or type(error).__name__).splitlines()[0]} ({type(error).__name__}); is there a network?"
