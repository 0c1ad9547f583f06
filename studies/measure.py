"""Held-out images, and what a tokenizer makes of them: clean and from perturbed codes.

Legend: B images of a batch, S pixels a side.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zellige.convert.features import load_efficientnet_lite0
from zellige.core.contract import Tokenizer
from zellige.core.hub import WEIGHTS, load
from zellige.core.pixels import from_uint8
from zellige.data import open_images
from zellige.data.transforms import random_scale_crop
from zellige.evaluate.pfid import PerturbationStudy
from zellige.latent.perturb import perturb_ids
from zellige.metrics import PSNR, CodebookUsage
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import FeatureNetwork, efficientnet_features
from zellige.metrics.perturbed import PerturbationGrid

BATCH = 16
"""Images that go through the networks together; small batches stay in the cache of a CPU."""


@dataclass(frozen=True)
class HeldOut:
    """Which images a tokenizer is judged by.

    Attributes:
        source: what `open_images` takes.
        images: decoded at most.
        crops: taken from each.
        side: S, of a crop.
        scale: smallest and largest side of a crop before it is resized, as a share of the short side.
    """

    source: str
    images: int
    crops: int
    side: int
    scale: tuple[float, float] = (1.0, 1.0)

    def load(self) -> np.ndarray:
        """uint8 (images · crops, S, S, 3), always the same."""
        found = []
        for number, record in enumerate(itertools.islice(open_images(self.source), self.images)):
            rng = np.random.default_rng((0, number))
            found += [random_scale_crop(record.image, self.side, rng, shares=self.scale) for _ in range(self.crops)]
        return np.stack(found)


@dataclass(frozen=True)
class Measured:
    """The figures of one tokenizer.

    Attributes:
        psnr: of clean reconstructions, dB.
        used: share of the codes that occur.
        clean: Fréchet distance of clean reconstructions; `perturbed` is its mean over the cells.
        cells: alpha, delta, distance, share of the ids that changed, and of it what alpha·(1 − 1/delta) expects.
    """

    psnr: float
    used: float
    clean: float
    perturbed: float
    cells: list[dict[str, float]]


def network() -> FeatureNetwork:
    """EfficientNet-Lite0 that sees images at their own size; at 224 pixels, as usual, it would take far longer."""
    return efficientnet_features(load_efficientnet_lite0().to(memory_format=torch.channels_last), None)  # type: ignore[call-overload]


def measure(tokenizer: Tokenizer, images: np.ndarray, features: FeatureNetwork, grid: PerturbationGrid) -> Measured:
    """Of uint8 images (n, S, S, 3)."""
    tokenizer.eval()
    clean, psnr, usage = FeatureDistances(features), PSNR(), CodebookUsage(tokenizer.codebook)
    study = PerturbationStudy(tokenizer, clean, grid, tokenizer.decode, time.perf_counter)
    for start in range(0, len(images), BATCH):
        x = from_uint8(images[start : start + BATCH])
        with torch.inference_mode():
            latents, tokens = tokenizer.encode_latents(x)
            output = tokenizer.decode(tokens)
            study.add(range(start, start + len(x)), x, output, latents, tokens)
        psnr.update(x, output)
        usage.update(tokens)
    (distance,) = clean.compute()
    found = study.result(distance, 0.0)
    cells = [
        {
            "alpha": cell.alpha,
            "delta": cell.delta,
            "distance": cell.distance.value,
            "changed": cell.changed,
            "expected": cell.alpha * (1 - 1 / cell.delta),
        }
        for cell in found.cells
    ]
    used = sum(len(counts) for counts in usage.frequencies()) / sum(tokenizer.codebook)
    return Measured(psnr.compute()[0].value, used, distance.value, found.mean.value, cells)


@torch.inference_mode()
def decode_perturbed(tokenizer: Tokenizer, x: Tensor, *, alpha: float, delta: int, seed: int = 0) -> Tensor:
    """Images (B, 3, S, S) through perturbed codes, the same draws for every tokenizer of as many tokens."""
    latents, tokens = tokenizer.encode_latents(x)
    assert tokens.ids is not None
    generator = torch.Generator().manual_seed(seed)
    ids = perturb_ids(tokenizer.quantizer, latents, tokens.ids, alpha=alpha, delta=delta, generator=generator)
    return tokenizer.decode(replace(tokens, ids=ids))


def load_model(folder: Path) -> Tokenizer:
    """The tokenizer that a training run left in `folder`."""
    tokenizer = load(str(folder / WEIGHTS))
    assert isinstance(tokenizer, Tokenizer)
    return tokenizer.eval()


@torch.inference_mode()
def psnr(tokenizer: Tokenizer, source: Path, count: int) -> float:
    """Of the first `count` images of a set as they are decoded, dB."""
    metric, records = PSNR(), itertools.islice(open_images(str(source)), count)
    while batch := list(itertools.islice(records, BATCH)):
        images = from_uint8(np.stack([record.image for record in batch]))
        metric.update(images, tokenizer.decode(tokenizer.encode(images)))
    (found,) = metric.compute()
    return float(found.value)
