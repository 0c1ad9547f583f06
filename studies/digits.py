"""Handwritten digits, the smallest set of images whose ten classes a small model can show (scikit-learn's, BSD); and
how well samples show them.

Legend: B images of a batch, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from studies.common import Record
from studies.guidance import labelled
from studies.probe import ClassProbe
from zellige.convert.features import load_efficientnet_lite0
from zellige.core.contract import Tokenizer
from zellige.core.files import replacing
from zellige.core.pixels import from_uint8, to_uint8
from zellige.generate.images import ImageGenerator
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import FeatureNetwork, efficientnet_features

TRAIN, TEST = "digits-train.tar", "digits-test.tar"
SIDE, HELD_OUT, INK = 32, 500, 16
"""Pixels a side that the 8×8 of the set are brought to; images at its end that are held out; its darkest value."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The captions."""
CLASSES, DRAWN = len(WORDS), 100
SIZE = 64
"""Pixels a side that images are brought to for features: at 32 the network has hardly a place to look at."""


def write_digits(folder: Path) -> None:
    """Both tars, of RGB images with their classes and captions, unless they are there."""
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
                label = int(found.target[number])
                tar.write({"__key__": f"{number:04}", "png": image, "cls": label, "txt": WORDS[label]})


def network() -> FeatureNetwork:
    """EfficientNet-Lite0 that sees images at `SIZE` pixels."""
    return efficientnet_features(load_efficientnet_lite0().to(memory_format=torch.channels_last), SIZE)  # type: ignore[call-overload]


@torch.inference_mode()
def drawn(
    images: ImageGenerator,
    draws: Mapping[str, Mapping[str, Any]],
    source: Path,
    count: int,
    seed: int,
    features: FeatureNetwork,
    probe: ClassProbe,
    condition: Callable[[list[int]], Any] = list,
) -> Record:
    """The distance of samples to held-out images, of the same classes, and how many show these, drawn in every way.

    The same of reconstructions of the held-out images: ``reconstructed`` and ``right``. `condition` makes of classes
    what the generator takes.
    """
    tokenizer = images.tokenizer
    reference, right = FeatureDistances(features), []
    labels: list[int] = []
    for x, y in labelled(source, count):
        output = tokenizer.decode(tokenizer.encode(x))
        reference.update(x, output)
        right += (probe(output) == y).tolist()
        labels += y.tolist()
    found: Record = {"reconstructed": reference.compute()[0].value, "right": float(np.mean(right)), "draws": {}}
    for name, options in draws.items():
        judge, right = FeatureDistances(features), []
        judge.real = reference.real
        for start in range(0, len(labels), DRAWN):
            wanted = labels[start : start + DRAWN]
            seeds = [seed * count + start + i for i in range(len(wanted))]
            output = from_uint8(to_uint8(images.draw(condition(wanted), seeds, **options)))
            judge.add_output(output)
            right += (probe(output) == torch.tensor(wanted)).tolist()
        found["draws"][name] = {"distance": judge.compute()[0].value, "right": float(np.mean(right))}
    return found


@torch.inference_mode()
def learned(tokenizer: Tokenizer, train: Path, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Reconstructions (B, 3, S, S) of training images and their classes (B,): as samples look."""
    for x, y in labelled(train, count):
        yield tokenizer.decode(tokenizer.encode(x)), y
