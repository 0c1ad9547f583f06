"""`TokenSetWriter`: a token set written in parts, so that nothing finished is ever lost.

Rows are collected and written as small Parquet files in `<path>.parts/`, each under a temporary
name first. `finish` joins the parts into the final file and removes them. Killed at any point, a
run loses only the rows that were not yet in a part; it goes on with `resume=True`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zellige.codec.schema import TokenSetInfo, arrow_table, check_layout, parquet_writer
from zellige.codec.tokenset import TokenSet
from zellige.core.errors import DataError, UsageError, ZelligeError, reason
from zellige.core.files import replacing
from zellige.core.tokens import Layout, Tokens

_PART_BYTES = 1 << 24  # ids in memory at most before a part is written


class TokenSetWriter:
    """Writes the tokens of many images to one Parquet file.

    Attributes:
        done: keys of the rows that are safe in a part (or in the finished file), to be skipped
            when resuming.
        info: the description that goes into the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str,
        fingerprint: str,
        codebook: Sequence[int],
        layout: Layout | None = None,
        classes: Sequence[str] = (),
        resume: bool = False,
        rows_per_part: int = 4096,
    ) -> None:
        """Open a set for writing.

        Args:
            path: the final file; an existing one is replaced by `finish`.
            name, fingerprint, codebook: of the tokenizer.
            layout: of all samples; None takes any, and the final file then has one layout if all
                its rows do, or else one a row.
            classes: names of the labels 0, 1, …, where they have names.
            resume: go on with the parts (or add to the finished file) of an earlier run.
            rows_per_part: rows that a crash can cost; fewer where a row is large.

        Raises:
            UsageError: if there are parts and `resume` is false, or if they come from another
                tokenizer.
        """
        self.path = Path(path)
        self.info = TokenSetInfo(name, fingerprint, tuple(int(k) for k in codebook), layout, classes=tuple(classes))
        self.done: set[str] = set()
        self._folder = self.path.with_name(self.path.name + ".parts")
        self._rows: list[dict[str, Any]] = []
        self._rows_per_part = rows_per_part
        self._keys: set[str] = set()
        self._sources: list[Path] = []
        if self.path.is_dir():
            raise ZelligeError(f"cannot write {self.path}: it is a folder; name a file")
        if resume:
            self._resume()
        elif self._folder.exists():
            raise UsageError(
                f"{self._folder} holds the parts of an unfinished run: resume it (--resume, resume=True), "
                "or remove that folder to start over"
            )
        self._next = 1 + max((int(p.stem[5:]) for p in self._parts()), default=-1)

    def append(
        self,
        keys: Sequence[str],
        tokens: Tokens,
        sizes: Sequence[tuple[int, int]],
        *,
        classes: Sequence[int | None] | None = None,
        texts: Sequence[str | None] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            keys: one a sample, unique in the set.
            tokens: ids of the batch.
            sizes: (width, height) of the images before padding.
            classes, texts: labels and captions, where the source has them.

        Raises:
            UsageError: for tokens that do not fit the set, or a key that it already has.
        """
        ids = self._checked_ids(tokens)
        for column in (keys, sizes, classes, texts):
            if column is not None and len(column) != len(ids):
                raise UsageError(f"{len(column)} values for {len(ids)} samples: give one each")
        layout = [list(block) for block in tokens.layout]
        for i, key in enumerate(keys):
            if key in self._keys or key in self.done:
                raise UsageError(f"the set already has a row with the key '{key}'; keys are unique")
            self._keys.add(key)
            row = {
                "key": key,
                "width": int(sizes[i][0]),
                "height": int(sizes[i][1]),
                "layout": layout,
                "length": None if tokens.lengths is None else int(tokens.lengths[i]),
                "class": None if classes is None else classes[i],
                "text": None if texts is None else texts[i],
                "ids": ids[i].tobytes(),
            }
            self._rows.append(row)
            if self._full(self._rows):
                self.flush()

    def flush(self) -> None:
        """Write the rows collected so far as a part; they are then in `done`."""
        if not self._rows:
            return
        if not self._folder.is_dir():
            self._make_folder()
        part = self._folder / f"part-{self._next:06d}.parquet"
        try:
            with replacing(part) as temporary, parquet_writer(temporary, self.info) as out:
                out.write_table(arrow_table(self._rows, self.info))
        finally:
            with suppress(OSError):
                self._folder.rmdir()  # only where it is empty, because the first part failed
        self._next += 1
        self.done.update(row["key"] for row in self._rows)
        self._keys.clear()
        self._rows.clear()

    def finish(self) -> Path:
        """Join all parts into the final file, remove them, and return its path.

        Raises `DataError` if not one row was written.
        """
        self.flush()
        if not self.done:
            raise DataError(f"{self.path} was not written: there is not one row to write")
        parts = self._parts()
        if parts:
            sources = [TokenSet(source) for source in (*self._sources, *parts)]
            layouts = set().union(*(source.layouts() for source in sources))
            final = replace(self.info, layout=layouts.pop() if len(layouts) == 1 else None)
            with replacing(self.path) as temporary, parquet_writer(temporary, final) as out:
                for rows in self._regrouped(sources):
                    out.write_table(arrow_table(rows, final))
        if self._folder.exists():
            shutil.rmtree(self._folder)
        return self.path

    def _full(self, rows: list[dict[str, Any]]) -> bool:
        """Whether as many rows are together as a part may have."""
        return len(rows) >= self._rows_per_part or len(rows) * len(rows[-1]["ids"]) >= _PART_BYTES

    def _regrouped(self, sources: Sequence[TokenSet]) -> Iterator[list[dict[str, Any]]]:
        """All rows, together as if nothing had cut them into parts: when that was must not be seen in the file."""
        rows: list[dict[str, Any]] = []
        for row in (row for source in sources for group in source.records() for row in group):
            rows.append(row)
            if self._full(rows):
                yield rows
                rows = []
        if rows:
            yield rows

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("part-*.parquet"))

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=False, exist_ok=True)
        except OSError as error:
            raise ZelligeError(f"cannot write {self._folder}: {reason(error)}") from error

    def _resume(self) -> None:
        """Collect the keys of a finished file and of parts; drop parts that `finish` had already joined."""
        if self.path.exists():
            self.done.update(self._keys_of(self.path))
            self._sources.append(self.path)
        for part in self._parts():
            keys = set(self._keys_of(part))
            if keys <= self.done:
                part.unlink()
            self.done |= keys

    def _keys_of(self, path: Path) -> Iterator[str]:
        try:
            found = TokenSet(path)
        except DataError as error:
            raise DataError(f"{error}; remove it to go on, its rows are then made again") from error
        if not self.info.takes(found.info):
            names = ("name", "fingerprint", "codebook", "layout", "classes")
            differ = [name for name in names if getattr(self.info, name) != getattr(found.info, name)]
            theirs, ours = (", ".join(f"{n} {getattr(info, n)}" for n in differ) for info in (found.info, self.info))
            raise UsageError(f"{path} holds tokens of {theirs}, not of {ours}; remove it or write to another file")
        return found.keys()

    def _checked_ids(self, tokens: Tokens) -> np.ndarray:
        """Ids (B, N, G) in the integer type of the file."""
        if tokens.ids is None:
            raise UsageError("token sets hold ids; these tokens are continuous")
        if tokens.codebook != self.info.codebook:
            raise UsageError(f"the set has the codebook {self.info.codebook}; these tokens have {tokens.codebook}")
        if self.info.layout is not None and tokens.layout != self.info.layout:
            raise UsageError(f"the set has the layout {self.info.layout}; these tokens have {tokens.layout}")
        check_layout(tokens.layout, len(tokens.codebook))
        ids = tokens.ids.cpu().numpy().reshape(len(tokens), tokens.num_tokens, -1)
        if ids.size and ((ids < 0).any() or (ids >= np.array(tokens.codebook)).any()):
            raise UsageError(f"an id is outside the codebook {tokens.codebook}")
        return ids.astype(self.info.dtype)
