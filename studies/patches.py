"""Patches of pixels as tokens: a codebook of k-means centres, which costs no training.

Legend: B images of a batch, S pixels a side, P pixels a side of a patch, N = (S / P)² patches, n images.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.codec import TokenSet, TokenSetWriter
from zellige.core.pixels import from_uint8
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord, open_images
from zellige.metrics import PSNR
from zellige.metrics.features import fingerprint
from zellige.quantize.codebook import Codebook

BATCH = 64


class PatchCodes:
    """Square patches of images, each as the nearest of K centres.

    Args:
        source: images whose first ones, `seen` of them, the centres are found on.
        patch: P, which divides S.
        codes: K.
    """

    def __init__(self, source: Path, patch: int, codes: int, seen: int = 256) -> None:
        self.patch, self.codes = patch, codes
        self.codebook = Codebook(codes, 3 * patch**2, kmeans_start=True).train()
        vectors = torch.cat([self._vectors(_pixels(records)).flatten(0, 1) for records in _batches(source, seen)])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.codebook.prepare(vectors)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tokens:
        """(B, 3, S, S) to ids (B, N) of a grid."""
        vectors = self._vectors(images)
        side = images.shape[-1] // self.patch
        ids = self.codebook.nearest(vectors.flatten(0, 1)).view(vectors.shape[:2])
        return Tokens(ids, ((side, side),), (self.codes,))

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Tensor:
        """(B, 3, S, S) in [-1, 1]."""
        patches = self.codebook.lookup(tokens.data).transpose(1, 2).unflatten(2, tokens.layout[0])
        return F.pixel_shuffle(patches, self.patch).clamp(-1, 1)

    def token_set(self, source: Path, count: int, path: Path) -> TokenSet:
        """The tokens of the first `count` images of a set with labels, written unless they are there."""
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            name = f"patches of {self.patch}×{self.patch}"
            writer = TokenSetWriter(
                path, name=name, fingerprint=fingerprint(self.codebook), codebook=(self.codes,), resume=True
            )
            for records in _batches(source, count):
                new = [record for record in records if record.key not in writer.done]
                if new:
                    sizes = [(record.width, record.height) for record in new]
                    labels = [record.label for record in new]
                    writer.append([record.key for record in new], self.encode(_pixels(new)), sizes, classes=labels)
            writer.finish()
        return TokenSet(path)

    def psnr(self, source: Path, count: int) -> float:
        """Of the first `count` images as they are decoded, dB."""
        metric = PSNR()
        for records in _batches(source, count):
            pixels = _pixels(records)
            metric.update(pixels, self.decode(self.encode(pixels)))
        (found,) = metric.compute()
        return float(found.value)

    def _vectors(self, images: Tensor) -> Tensor:
        """(B, N, 3·P²)."""
        return F.pixel_unshuffle(images, self.patch).flatten(2).transpose(1, 2)


def _batches(source: Path, count: int) -> Iterator[list[ImageRecord]]:
    records = islice(open_images(str(source)), count)
    while batch := list(islice(records, BATCH)):
        yield batch


def _pixels(records: list[ImageRecord]) -> Tensor:
    return from_uint8(np.stack([record.image for record in records]))
