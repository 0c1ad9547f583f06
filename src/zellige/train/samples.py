"""Pictures of what a model does, to look at while it learns.

Legend: B samples, S pixels a side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from zellige.core.images import save_image
from zellige.core.pixels import to_uint8

COLUMNS = 8
"""Crops in a picture at most."""


def save_samples(folder: Path, step: int, originals: Tensor, reconstructions: Tensor) -> Path:
    """Write ``step-NNNNNN.png``: originals above, their reconstructions below.

    Args:
        folder: made if need be.
        step: that has been reached.
        originals: (B, 3, S, S) in [-1, 1].
        reconstructions: of the same shape.
    """
    rows = [np.concatenate(list(to_uint8(x[:COLUMNS])), axis=1) for x in (originals, reconstructions)]
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:06d}.png"
    save_image(path, np.concatenate(rows))
    return path
