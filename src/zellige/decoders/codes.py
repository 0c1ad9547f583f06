"""`CodeDecoder`: pixels by way of a teacher's codes.

    vectors ─ two layers ─ scores of the teacher's codes ─ softmax ─ mixture of codes ─ ConvDecoder ─ pixels

The scores can be trained alone, against the codes that the teacher gives the image (TiTok's first stage, arXiv
2406.07550), and then everything on pixels, as the mixture passes gradients.
Legend: B samples, N = h·w positions, C channels, K codes of the teacher, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.decoders.conv import ConvDecoder
from zellige.nn.conv import to_grid
from zellige.nn.convnet import ConvConfig


class CodeDecoder(nn.Module):
    """Vectors (B, N, C) of a square grid to pixels (B, 3, H, W).

    Args:
        channels: C.
        codes: K.
        grid: positions a side.
        config: of the teacher's decoder; its `latent` is the dimension of a code.
    """

    def __init__(self, channels: int, codes: int, *, grid: int, config: ConvConfig) -> None:
        super().__init__()
        if codes < 1:
            raise UsageError(f"a teacher has at least one code; got {codes}")
        self.grid = grid
        self.scores = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1), nn.Tanh(), nn.Conv2d(2 * channels, codes, 1))
        self.codes = nn.Embedding(codes, config.latent)
        self.painter = ConvDecoder(config)

    def logits(self, x: Tensor) -> Tensor:
        """Scores of the teacher's codes, (B, K, h, w)."""
        return self.scores(to_grid(x, (self.grid, self.grid)))

    def forward(self, x: Tensor) -> Tensor:
        return self.paint(self.logits(x))

    def paint(self, logits: Tensor) -> Tensor:
        """Pixels of scores (B, K, h, w)."""
        return self.painter(torch.einsum("bkhw,kd->bdhw", logits.softmax(1), self.codes.weight))
