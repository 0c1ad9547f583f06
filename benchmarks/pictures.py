"""Drawn photographs: smooth colours, edges and noise, so that JPEG has as much to do as with real ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = 16
"""Different pictures; a set of many repeats them under other names."""


def picture(seed: int, width: int, height: int) -> bytes:
    """One picture as JPEG of quality 90."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (3, 9, 40):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        image += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float) / 3
    image += rng.normal(0, 6, image.shape)
    stream = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_folder(folder: Path, count: int, width: int, height: int) -> None:
    """`count` JPEG files."""
    folder.mkdir()
    kinds = [picture(seed, width, height) for seed in range(KINDS)]
    for number in range(count):
        (folder / f"{number:06}.jpg").write_bytes(kinds[number % KINDS])


def write_tar(path: Path, count: int, width: int, height: int) -> None:
    """A WebDataset shard of `count` pictures."""
    kinds = [picture(seed, width, height) for seed in range(KINDS)]
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            member = tarfile.TarInfo(f"{number:06}.jpg")
            data = kinds[number % KINDS]
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
