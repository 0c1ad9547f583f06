"""`ConvDecoder`: the convolutional decoder of the VQGAN family (Esser et al., arXiv 2012.09841).

    latents ─ conv ─ middle ─┬ blocks (attention) ┬ up … ─ blocks ─ norm ─ SiLU ─ conv ─ patch ─ pixels
                             └──── a level ───────┘

Legend: B samples, h w latent positions, D latent channels, H W pixels.
"""

from __future__ import annotations

from math import ceil

from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.conv import make_norm, make_up
from zellige.nn.convnet import ConvConfig


class ConvDecoder(nn.Module):
    """Latents (B, D, h, w) to pixels (B, 3, h · stride, w · stride)."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        widths = [int(config.channels * m) for m in reversed(config.multipliers)]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(config.latent, widths[0], 3, padding=1)
        self.middle = config.middle(widths[0])
        self.levels = nn.ModuleList(
            config.level(c, w, config.decoder_blocks, attention=config.attends(last - i, decoder=True))
            for i, (c, w) in enumerate(zip([widths[0], *widths[:-1]], widths, strict=True))
        )
        self.ups = nn.ModuleList(make_up(config.resample, w) for w in widths[:-1])
        self.norm_out = make_norm(config.norm, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3 * config.patch**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(config.patch)
        self.receptive_field = _receptive_field(config) if config.local else None

    def forward(self, z: Tensor) -> Tensor:
        z = self.middle(self.conv_in(z))
        for level, up in zip(self.levels, [*self.ups, nn.Identity()], strict=True):
            z = up(level(z))
        return self.shuffle(self.conv_out(F.silu(self.norm_out(z))))


def _receptive_field(config: ConvConfig) -> int:
    """Latent cells beyond its own that a pixel depends on, at most, on any side."""
    size, reach = config.stride, config.stride * (1 + 2 * config.middle_blocks)
    for level in range(len(config.multipliers)):
        reach += 2 * config.decoder_blocks * size
        if level < len(config.multipliers) - 1:
            size //= 2
            reach += size if config.resample != "shuffle" else 0
    return ceil((reach + size) / config.stride)
