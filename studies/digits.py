"""Handwritten digits, the smallest set of images whose ten classes a small model can show (scikit-learn's, BSD)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import webdataset
from PIL import Image
from sklearn.datasets import load_digits

from zellige.core.files import replacing

TRAIN, TEST = "digits-train.tar", "digits-test.tar"
SIDE, HELD_OUT, INK = 32, 500, 16
"""Pixels a side that the 8×8 of the set are brought to; images at its end that are held out; its darkest value."""


def write_digits(folder: Path) -> None:
    """Both tars, of RGB images with their classes, unless they are there."""
    found = load_digits()
    pixels = np.round(255 * found.images / INK).astype(np.uint8)
    first = len(pixels) - HELD_OUT
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in ((TRAIN, range(first)), (TEST, range(first, len(pixels)))):
        if (folder / name).is_file():
            continue
        with replacing(folder / name) as temporary, webdataset.TarWriter(str(temporary)) as tar:
            for number in numbers:
                image = Image.fromarray(pixels[number]).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
                tar.write({"__key__": f"{number:04}", "png": image, "cls": int(found.target[number])})
