"""Patches of pixels as tokens: a codebook of k-means centres, which costs no training.

Legend: B images of a batch, S pixels a side, P pixels a side of a patch, N = (S / P)² patches, n images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.codec import TokenSet, TokenSetWriter
from zellige.core.contract import Reconstruction, Tokenizer
from zellige.core.errors import UsageError
from zellige.core.pixels import from_uint8
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord, open_images
from zellige.quantize.codebook import Codebook

BATCH = 64


@dataclass(frozen=True)
class PatchConfig:
    """P and K."""

    patch: int = 4
    codes: int = 256


class PatchCodes(Tokenizer):
    """Square patches of images, each as the nearest of K centres; P divides S."""

    config_class: ClassVar[type] = PatchConfig
    system = "patches"
    config: PatchConfig

    def __init__(self, config: PatchConfig) -> None:
        super().__init__(config)
        self.stride, self.codebook = config.patch, (config.codes,)
        self.centres = Codebook(config.codes, 3 * config.patch**2, kmeans_start=True)

    @classmethod
    def of(cls, source: Path, patch: int, codes: int, seen: int = 256) -> PatchCodes:
        """With the centres of the patches of the first images of a set, `seen` of them."""
        made = cls(PatchConfig(patch, codes)).train()
        vectors = torch.cat([made._vectors(_pixels(records)).flatten(0, 1) for records in _batches(source, seen)])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made.centres.prepare(vectors)
        return made.eval()

    def forward(self, x: Tensor) -> Reconstruction:
        raise UsageError("patches are not trained: their centres are those of PatchCodes.of")

    def _encode(self, x: Tensor, condition: Any, budget: Any) -> Tokens:
        vectors = self._vectors(x)
        side = x.shape[-1] // self.stride
        ids = self.centres.nearest(vectors.flatten(0, 1)).view(vectors.shape[:2])
        return Tokens(ids, ((side, side),), self.codebook)

    def _decode(
        self, tokens: Tokens, condition: Any, seed: int | None, steps: int | None, guidance: float | None
    ) -> Tensor:
        patches = self.centres.lookup(tokens.data).transpose(1, 2).unflatten(2, tokens.layout[0])
        return F.pixel_shuffle(patches, self.stride)

    def token_set(self, source: Path, count: int, path: Path) -> TokenSet:
        """The tokens of the first `count` images of a set with labels, written unless they are there."""
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = TokenSetWriter(
                path, name=self.name, fingerprint=self.fingerprint(), codebook=self.codebook, resume=True
            )
            for records in _batches(source, count):
                new = [record for record in records if record.key not in writer.done]
                if new:
                    sizes = [(record.width, record.height) for record in new]
                    told = {"classes": [record.label for record in new], "texts": [record.text for record in new]}
                    writer.append([record.key for record in new], self.encode(_pixels(new)), sizes, **told)
            writer.finish()
        return TokenSet(path)

    def _vectors(self, images: Tensor) -> Tensor:
        """(B, N, 3·P²)."""
        return F.pixel_unshuffle(images, self.stride).flatten(2).transpose(1, 2)


def _batches(source: Path, count: int) -> Iterator[list[ImageRecord]]:
    records = islice(open_images(str(source)), count)
    while batch := list(islice(records, BATCH)):
        yield batch


def _pixels(records: list[ImageRecord]) -> Tensor:
    return from_uint8(np.stack([record.image for record in records]))
