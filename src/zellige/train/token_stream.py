"""Batches for the generator loop: endless, shuffled, resumable to the bit; tokens and what each is conditioned on.

Legend: B samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zellige.codec import TokenSet
from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens
from zellige.data import TrainStream
from zellige.data.shuffle import epoch_order

Kind = Literal["class", "text", "none"]


@dataclass(frozen=True)
class ConditionedTokens:
    """A batch of the generator loop.

    Attributes:
        tokens: of B samples.
        labels: int64 (B,), where the condition is a class; None otherwise.
        texts: B captions, where it is a text, empty where a sample has none; None otherwise.
    """

    tokens: Tokens
    labels: Tensor | None = None
    texts: list[str] | None = None


MOST_UNTOLD = 256
"""Crops that may come without a caption before the first that has one."""


class TokenSetStream:
    """Rows of a token set in random order, one permutation an epoch, read from disk as they are drawn.

    Batch i is a function of the seed and i. Memory is 20 bytes a row, for the order, labels and checksums.

    Args:
        tokens: the set; all its rows have one layout.
        condition: what is given with the tokens.
        batch_size: B, on this process.
        seed: of the order.
        rank: number of this process among `world` that train together.
    """

    def __init__(
        self, tokens: TokenSet, condition: Kind, batch_size: int, *, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.tokens, self.condition, self.batch_size = tokens, condition, batch_size
        self.seed, self.rank, self.world = seed, rank, world
        self.drawn = 0

    def __iter__(self) -> Iterator[ConditionedTokens]:
        while True:
            rows = self._rows((self.drawn * self.world + self.rank) * self.batch_size)
            labels = torch.from_numpy(self.tokens.labels[rows]) if self.condition == "class" else None
            texts = [text or "" for text in self.tokens.texts(rows)] if self.condition == "text" else None
            batch = ConditionedTokens(self.tokens.tokens(rows), labels, texts)
            self.drawn += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches were drawn, and from which set."""
        return {"drawn": self.drawn, "seed": self.seed, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; `UsageError` if it is of another set."""
        identity = self._identity()
        if any(state.get(key) != value for key, value in identity.items()):
            raise UsageError(
                f"this run has been trained on another token set than {self.tokens.path}: resume it with that one"
            )
        self.drawn, self.seed = int(state["drawn"]), int(state["seed"])

    def _identity(self) -> dict[str, Any]:
        return {"tokenizer": self.tokens.info.fingerprint, "rows": len(self.tokens)}

    def _rows(self, first: int) -> np.ndarray:
        """Rows of the draws from `first` on."""
        epochs, places = np.divmod(np.arange(first, first + self.batch_size), len(self.tokens))
        rows = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            rows[now] = epoch_order(len(self.tokens), (self.seed, int(epoch)))[places[now]]
        return rows


class TokenizingStream:
    """Crops of images, tokenized as they come.

    Args:
        images: the crops.
        condition: what is given with the tokens.
        encode: pixels (B, 3, S, S) in [-1, 1] to tokens.
    """

    def __init__(self, images: TrainStream, condition: Kind, encode: Callable[[Tensor], Tokens]) -> None:
        self.images, self.condition, self.encode = images, condition, encode
        self._untold = 0  # crops without a caption so far, or -1 once there was one

    def __iter__(self) -> Iterator[ConditionedTokens]:
        for batch in self.images.labelled():
            labels = self._labels(batch.labels) if self.condition == "class" else None
            texts = self._texts(batch.texts) if self.condition == "text" else None
            yield ConditionedTokens(self.encode(batch.pixels), labels, texts)

    def state_dict(self) -> dict[str, Any]:
        return self.images.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.images.load_state_dict(state)

    def _texts(self, texts: Sequence[str | None]) -> list[str]:
        """Captions, empty where there is none; but a set without any is refused once a number of crops has shown it."""
        self._untold = -1 if self._untold < 0 or any(texts) else self._untold + len(texts)
        if self._untold >= MOST_UNTOLD:
            raise UsageError(
                f"no caption came with the first {self._untold} crops of {self.images.source.name}: "
                "give images with captions, or train with condition=class or none"
            )
        return [text or "" for text in texts]

    def _labels(self, labels: Sequence[int | None]) -> Tensor:
        known = [label for label in labels if label is not None]
        if len(known) < len(labels):
            raise UsageError(
                f"{self.images.source.name} has images without a class; set condition=none, or leave those out"
            )
        return torch.tensor(known)
