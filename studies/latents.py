"""Small autoencoders whose continuous latents the studies of FlowAR and xAR model, and sets of latents.

Legend: S pixels a side, n images, N latents of an image, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from studies.measure import BATCH
from zellige.core.contract import Tokenizer
from zellige.core.pixels import from_uint8
from zellige.core.tokens import Layout, Tokens
from zellige.data import open_images
from zellige.metrics import PSNR
from zellige.train.recipe import Recipe

TRAIN, TEST, CLASSES = "cifar10-train.parquet", "cifar10-test.parquet", 10
SIDE = 32
"""S, of all images here."""


@dataclass(frozen=True)
class Autoencoder:
    """A kl-vae of 8×8 latents: patches of 4×4 pixels, and a few convolutions over them.

    Attributes:
        dim: D.
        channels: of its convolutions.
        kl: weight of the divergence, enough to hold latents near the standard normal that flows start from.
        steps: of training, each of ``batch_size`` images.
    """

    dim: int = 16
    channels: int = 64
    kl: float = 3e-6
    steps: int = 400
    batch_size: int = 32

    def recipe(self, data: Path, seed: int = 0) -> Recipe:
        """Its training on images of a folder."""
        network = {"channels": self.channels, "multipliers": [1], "patch": 4, "norm": "channel", "attention": False}
        depth = {"blocks": 1, "decoder_blocks": 1, "middle_blocks": 1}
        latents = {"latent": self.dim, "dim": self.dim, "latent_scale": 1.0}
        return Recipe.model_validate(
            {
                "tokenizer": "kl-vae/kl-16",
                "config": network | depth | latents | {"quantizer_settings": {"kl_weight": self.kl}},
                "data": images(data),
                "optimizer": {"lr": 2e-3, "warmup": min(50, self.steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": 50,
                "sample_every": 0,
            }
        )


@dataclass(frozen=True)
class LatentSet:
    """Latents of held-out images.

    Attributes:
        latents: float32 (n, N, D), of ``layout``.
        labels: classes of the images, (n,).
        psnr: of the images decoded from them, dB.
    """

    latents: Tensor
    labels: Tensor
    layout: Layout
    psnr: float

    def batches(self, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Latents, labels and the rows of `others` (n, …) that belong to them."""
        yield from zip(*(part.split(BATCH) for part in (self.latents, self.labels, *others)), strict=True)

    def tokens(self) -> Tokens:
        """All of them as the generators take them."""
        return Tokens(None, self.layout, latents=self.latents)


@torch.inference_mode()
def encode_set(tokenizer: Tokenizer, source: Path, count: int) -> LatentSet:
    """The latents of the first `count` images of a set."""
    psnr, latents, labels = PSNR(), [], []
    records = islice(open_images(str(source)), count)
    while batch := list(islice(records, BATCH)):
        x = from_uint8(np.stack([record.image for record in batch]))
        tokens = tokenizer.eval().encode(x)
        psnr.update(x, tokenizer.decode(tokens))
        latents.append(tokens.data.float())
        labels += [record.label for record in batch]
    return LatentSet(torch.cat(latents), torch.tensor(labels), tokens.layout, psnr.compute()[0].value)


def images(data: Path) -> dict[str, Any]:
    """The part of a recipe that names the training images: whole ones, and their mirror images."""
    return {"train": [str(data / TRAIN)], "crop": SIDE, "scale": [1.0, 1.0]}
