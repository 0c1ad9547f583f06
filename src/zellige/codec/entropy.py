"""`EntropyModel`: static frequency tables of one tokenizer, driving a range coder.

Each id is split into its digits (a radix each, first digit fastest, as FSQ numbers its codes); each
digit plane is coded with the table that its known neighbours select (`zellige.codec.interlace`).
Tables are 16-bit integers. The coder is given them as float32, which holds them and all their
partial sums exactly; its fast fixed-point conversion then takes one rounded multiplication a
symbol, the same on every IEEE 754 machine.

Legend: N tokens, G sub-codebooks, P digit planes, K radix of a plane, C contexts of a plane.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from zellige.codec.interlace import num_contexts, visit
from zellige.core.errors import DataError, UsageError
from zellige.core.files import read_file, replacing
from zellige.core.tokens import Layout, layout_size

TOTAL = 1 << 16  # sum of the frequencies of a table
TABLES_FILE = "tables.safetensors"
LARGEST_RADIX = 1 << 15  # every symbol needs a frequency of at least 1
_MAX_BYTES = 1 << 28
_CHUNK = 1 << 18  # symbols whose tables are in memory at a time


@dataclass(frozen=True, eq=False)
class EntropyModel:
    """Frequency tables of a tokenizer's ids.

    Attributes:
        radices: digits of the ids of each sub-codebook, first digit fastest; their product is the
            size of the sub-codebook.
        tables: one uint16 array (C, K) a digit plane, P in all; rows sum to 65,536, no entry is 0.
        fingerprint: weights of the tokenizer that the tables belong to.
        tokenizer: its name.
    """

    radices: tuple[tuple[int, ...], ...]
    tables: tuple[np.ndarray, ...]
    fingerprint: str
    tokenizer: str = ""

    def __post_init__(self) -> None:
        check_radices(self.radices)
        planes = [k for group in self.radices for k in group]
        if [t.shape for t in self.tables] != [(num_contexts(k), k) for k in planes]:
            raise DataError(f"entropy tables do not fit the radices {self.radices}: fit them again")
        for table in self.tables:
            if table.dtype != np.uint16 or not table.all() or (table.sum(1, dtype=np.int64) != TOTAL).any():
                raise DataError("entropy tables are damaged: a row does not sum to 65,536; fit them again")

    @property
    def codebook(self) -> tuple[int, ...]:
        """Sizes of the sub-codebooks that the digits make up."""
        return tuple(math.prod(group) for group in self.radices)

    @cached_property
    def identity(self) -> int:
        """CRC32 of radices and tables: a file says with which tables it was coded."""
        crc = zlib.crc32(json.dumps(self.radices).encode())
        for table in self.tables:
            crc = zlib.crc32(table.astype("<u2").tobytes(), crc)
        return crc

    def encode(self, ids: np.ndarray, layout: Layout) -> bytes:
        """Range-coded ids (N, G) of one sample."""
        import constriction

        coder = constriction.stream.queue.RangeEncoder()

        def code(plane: int, context: np.ndarray | None, digits: np.ndarray) -> None:
            symbols = np.ascontiguousarray(digits, np.int32).reshape(-1)
            for part, model, tables in self._models(plane, context, len(symbols)):
                coder.encode(symbols[part], model, *tables)

        grids = split_digits(ids[None], self.radices, layout)
        visit(grids, self._planes, code)
        return coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")

    def decode(self, data: bytes, layout: Layout) -> np.ndarray:
        """Ids int64 (N, G) of what `encode` made; `DataError` if the data cannot come from these tables."""
        import constriction

        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        coder = constriction.stream.queue.RangeDecoder(words)

        def code(plane: int, context: np.ndarray | None, digits: np.ndarray) -> None:
            symbols = np.empty(digits.size, np.int32)
            for part, model, tables in self._models(plane, context, len(symbols)):
                symbols[part] = coder.decode(model, *(tables or (len(symbols),)))
            digits[...] = symbols.reshape(digits.shape)

        shape = _grid(layout)
        grids = [np.zeros((1, *shape), np.int32) for _ in self._planes]
        try:
            visit(grids, self._planes, code)
        except AssertionError as error:  # what constriction raises for a code outside the model
            raise DataError("the entropy-coded payload does not fit the tables: it is damaged") from error
        return join_digits(grids, self.radices)[0]

    def save(self, folder: str | Path) -> Path:
        """Write `tables.safetensors` to the folder of a tokenizer; returns its path."""
        from safetensors.numpy import save

        header = {"radices": json.dumps(self.radices), "fingerprint": self.fingerprint, "tokenizer": self.tokenizer}
        path = Path(folder) / TABLES_FILE
        with replacing(path) as temporary:
            temporary.write_bytes(save({f"plane{i}": t for i, t in enumerate(self.tables)}, metadata=header))
        return path

    @classmethod
    def load(cls, source: str | Path) -> EntropyModel:
        """The tables in a tokenizer's folder, or of a bundled tokenizer by its name.

        Raises `UsageError` where there are none, `DataError` if the file is damaged.
        """
        folder = Path(source) if Path(source).is_dir() else _bundled(str(source))
        if folder is None or not (folder / TABLES_FILE).is_file():
            raise UsageError(f"'{source}' has no {TABLES_FILE}; make it with: python -m zellige.codec.tables")
        return cls._parse(folder / TABLES_FILE)

    @classmethod
    def find(cls, tokenizer: str, fingerprint: str) -> EntropyModel | None:
        """The bundled tables of a tokenizer, None if there are none for these weights."""
        folder = _bundled(tokenizer)
        if folder is None or not (folder / TABLES_FILE).is_file():
            return None
        model = cls._parse(folder / TABLES_FILE)
        return model if model.fingerprint == fingerprint else None

    @classmethod
    def _parse(cls, path: Path) -> EntropyModel:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = read_file(path, _MAX_BYTES)
        try:
            size = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + size])["__metadata__"]
            radices = tuple(tuple(int(k) for k in group) for group in json.loads(header["radices"]))
            arrays = load(data)
            tables = tuple(arrays[f"plane{i}"] for i in range(len(arrays)))
            return cls(radices, tables, header["fingerprint"], header["tokenizer"])
        except (SafetensorError, ValueError, KeyError, TypeError, UsageError, DataError) as error:
            raise DataError(f"{path}: no usable entropy tables ({error})") from error

    @cached_property
    def _planes(self) -> tuple[int, ...]:
        return tuple(k for group in self.radices for k in group)

    @cached_property
    def _floats(self) -> tuple[np.ndarray, ...]:
        return tuple(table.astype(np.float32) for table in self.tables)

    def _models(
        self, plane: int, context: np.ndarray | None, count: int
    ) -> Iterator[tuple[slice, Any, tuple[Any, ...]]]:
        """What codes the `count` symbols of a pass: (their slice, a model, its parameters).

        One model for all without contexts; else a model family and one table (n, K) a symbol, some at a time.
        """
        import constriction

        categorical = constriction.stream.model.Categorical
        if context is None:
            yield slice(0, count), categorical(self._floats[plane][0], perfect=False), ()
            return
        family, flat = categorical(perfect=False), context.reshape(-1)
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            yield part, family, (self._floats[plane][flat[part]],)


Tables = EntropyModel | Callable[[str, str], EntropyModel | None] | None


def tables_for(model: Tables, tokenizer: str, fingerprint: str) -> EntropyModel | None:
    """The tables to use: those given, what a look-up function finds, or (None) the bundled ones."""
    if isinstance(model, EntropyModel):
        return model
    return (model or EntropyModel.find)(tokenizer, fingerprint)


def check_radices(radices: tuple[tuple[int, ...], ...]) -> None:
    """`UsageError` for digits that cannot be coded with 16-bit frequencies."""
    if not radices or not all(group and all(2 <= k <= LARGEST_RADIX for k in group) for group in radices):
        raise UsageError(f"radices are 2 to {LARGEST_RADIX}, one group a sub-codebook; got {radices}")


def split_digits(ids: np.ndarray, radices: tuple[tuple[int, ...], ...], layout: Layout) -> list[np.ndarray]:
    """Ids (B, N, G) to P planes int32 (B, h, w); layouts that are no grid become one row of N."""
    planes = []
    for group, digits in enumerate(radices):
        rest = ids[..., group]
        for radix in digits:
            rest, digit = np.divmod(rest, radix)
            planes.append(digit.astype(np.int32).reshape(len(ids), *_grid(layout)))
    return planes


def join_digits(planes: list[np.ndarray], radices: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Inverse of `split_digits`: int64 (B, N, G)."""
    flat = iter(plane.reshape(len(plane), -1).astype(np.int64) for plane in planes)
    groups = []
    for digits in radices:
        scale, ids = 1, np.zeros(1, np.int64)
        for radix in digits:
            ids = ids + scale * next(flat)
            scale *= radix
        groups.append(ids)
    return np.stack(groups, axis=-1)


def _grid(layout: Layout) -> tuple[int, int]:
    if len(layout) == 1 and len(layout[0]) == 2:
        return layout[0][0], layout[0][1]
    return 1, layout_size(layout)


def _bundled(name: str) -> Path | None:
    """Folder of a bundled tokenizer. A name may come from a file: nothing but a plain word is looked up."""
    system = name.partition("/")[0]
    if not re.fullmatch(r"[a-z0-9_-]+", system):
        return None
    return Path(str(resources.files("zellige"))) / "bundled" / system
