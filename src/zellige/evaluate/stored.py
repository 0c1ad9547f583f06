"""Evaluation of tokens that were made before: a token set beside the images that it was made from.

Legend: B images, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from zellige.codec import TokenSet
from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord, ImageSource
from zellige.data.transforms import center_crop_adm
from zellige.evaluate.sizes import resize_name


class StoredTokens:
    """Images and their stored tokens, matched by key.

    Keeps the keys of the set, some hundred bytes a row; tokens are read as they are asked for.

    Attributes:
        used: rows whose image came by.
    """

    def __init__(self, tokens: TokenSet) -> None:
        self.set = tokens
        self._rows: dict[str, tuple[int, int, int]] = {}
        for row, (key, width, height) in enumerate(tokens.images()):
            self._rows.setdefault(key, (row, width, height))
        self._sides: set[int] = set()
        self.used = 0

    def match(self, images: ImageSource) -> Iterator[ImageRecord]:
        """The images that have tokens, each of the size that was tokenized; others are skipped, with the reason."""
        for record in images:
            if record.key not in self._rows:
                images.skip(record.key, f"has no tokens in {self.set.path.name}")
                continue
            _, width, height = self._rows[record.key]
            if (record.width, record.height) != (width, height):
                if width != height:
                    images.skip(record.key, f"is {record.width}×{record.height}; its tokens are of {width}×{height}")
                    continue
                self._sides.add(width)
                record = replace(record, image=center_crop_adm(record.image, width).copy())
            self.used += 1
            yield record

    def tokens(self, keys: Sequence[str]) -> Tokens:
        """Tokens of images that `match` gave, in that order; they have one layout."""
        return self.set.tokens([self._rows[key][0] for key in keys])

    @property
    def resize(self) -> str:
        """How the images became what was tokenized, for protocols."""
        if len(self._sides) > 1:
            return "short side and centre crop as in the token set"
        return resize_name(min(self._sides, default=None))

    def none_matched(self, name: str) -> UsageError:
        """The error of images that have no tokens here."""
        first = next(iter(self._rows), None)
        holds = "is empty" if first is None else f"holds tokens of '{first}' and so on"
        return UsageError(
            f"no image of {name} has its tokens in {self.set.path}, which {holds}: "
            "give the images that it was made from"
        )
