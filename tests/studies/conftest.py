"""Images for studies at their quick scale."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def draw_set(path: Path, count: int, side: int, seed: int) -> None:
    """A Parquet file of smooth random pictures of ten classes."""
    rng = np.random.default_rng(seed)
    blobs = []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        buffer = io.BytesIO()
        small.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
        blobs.append(buffer.getvalue())
    pq.write_table(pa.table({"image": blobs, "label": [number % 10 for number in range(count)]}), path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of sets that a study finds its images in."""
    draw_set(tmp_path / "cifar10-train.parquet", 24, 32, 0)
    draw_set(tmp_path / "cifar10-test.parquet", 12, 32, 1)
    return tmp_path
