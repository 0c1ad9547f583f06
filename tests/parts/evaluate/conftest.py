"""A tokenizer simple enough to compute by hand, and a folder of drawn images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zellige.core.contract import Reconstruction, Tokenizer
from zellige.core.tokens import Tokens


@dataclass(frozen=True)
class BlockMeanConfig:
    levels: int = 8
    size: int | None = None


class BlockMean(Tokenizer):
    """The mean colour of each 4×4 cell, at `levels` values a channel, as one id."""

    config_class = BlockMeanConfig
    system = "block-mean"
    stride = 4
    receptive_field = (0, 0)

    def __init__(self, config: BlockMeanConfig) -> None:
        super().__init__(config)
        self.offset = torch.nn.Parameter(torch.zeros(3))
        self.codebook = (config.levels**3,)
        self.image_size = config.size
        self.licence = "CC0-1.0"

    def _encode(self, x: Tensor, condition: None, budget: None) -> Tokens:
        k = self.config.levels
        q = ((F.avg_pool2d(x, self.stride) + 1) / 2 * (k - 1)).round().long().clamp(0, k - 1)
        ids = (q[:, 0] * k + q[:, 1]) * k + q[:, 2]
        return Tokens(ids.flatten(1), (tuple(ids.shape[1:]),), self.codebook)

    def _decode(self, tokens: Tokens, *_: None) -> Tensor:
        k, grid = self.config.levels, tokens.ids.unflatten(1, tokens.layout[0])
        values = torch.stack([grid // k**2, grid // k % k, grid % k], 1) / (k - 1) * 2 - 1
        return F.interpolate(values, scale_factor=self.stride)

    def forward(self, x: Tensor) -> Reconstruction:
        raise NotImplementedError("the evaluation does not train")


class Blur(BlockMean):
    """Continuous latents: the mean colour itself."""

    def __init__(self, config: BlockMeanConfig) -> None:
        super().__init__(config)
        self.codebook = ()

    def _encode(self, x: Tensor, condition: None, budget: None) -> Tokens:
        means = F.avg_pool2d(x, self.stride)
        return Tokens(None, (tuple(means.shape[2:]),), latents=means.flatten(2).mT)

    def _decode(self, tokens: Tokens, *_: None) -> Tensor:
        return F.interpolate(tokens.latents.mT.unflatten(2, tokens.layout[0]), scale_factor=self.stride)


@pytest.fixture
def tokenizer() -> BlockMean:
    return BlockMean(BlockMeanConfig())


def draw(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colours with some noise, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = np.stack([np.sin(x + seed), np.cos(y), np.sin(x + y)], -1) * 90 + 128
    return (waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)


def draw_photos(folder: Path) -> Path:
    """Five images of three sizes, none but the first a multiple of 4 pixels, and a broken file."""
    folder.mkdir()
    for i, (height, width) in enumerate([(32, 48), (33, 50), (33, 50), (19, 30), (33, 50)]):
        Image.fromarray(draw(height, width, i)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos")
