"""`ConvEncoder`: the convolutional encoder of the VQGAN family (Esser et al., arXiv 2012.09841).

    pixels ─ patch ─ conv ─┬ blocks (attention) ┬ down … ─ blocks ─ middle ─ norm ─ SiLU ─ conv ─ latents
                           └──── a level ───────┘

Legend: B samples, H W pixels, h w latent positions, D latent channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.conv import make_down, make_norm
from zellige.nn.convnet import ConvConfig


class ConvEncoder(nn.Module):
    """Pixels (B, 3, H, W) to latents (B, V·D, H / stride, W / stride).

    V = `values` is what a latent channel is described by: 1 number, or 2 for its mean and log variance.
    """

    def __init__(self, config: ConvConfig, values: int = 1) -> None:
        super().__init__()
        widths = [int(config.channels * m) for m in config.multipliers]
        self.unshuffle = nn.PixelUnshuffle(config.patch)
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.channels, 3, padding=1, bias=config.bias)
        self.levels = nn.ModuleList(
            config.level(c, w, config.blocks, attention=config.attends(i))
            for i, (c, w) in enumerate(zip([config.channels, *widths[:-1]], widths, strict=True))
        )
        self.downs = nn.ModuleList(make_down(config.resample, w) for w in widths[:-1])
        self.middle = config.middle(widths[-1])
        self.norm_out = make_norm(config.norm, widths[-1])
        channels = values * config.latent
        self.conv_out = nn.Conv2d(widths[-1], channels, config.out_kernel, padding=config.out_kernel // 2)
        self.receptive_field = _receptive_field(config) if config.local else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(self.unshuffle(x))
        for level, down in zip(self.levels, [*self.downs, nn.Identity()], strict=True):
            x = down(level(x))
        x = self.middle(x)
        return self.conv_out(F.silu(self.norm_out(x)))


def _receptive_field(config: ConvConfig) -> int:
    """Pixels beyond its own cell that a latent position sees, at most, on any side."""
    size, reach = config.patch, config.patch  # pixels a position, and the first convolution
    for level in range(len(config.multipliers)):
        reach += 2 * config.blocks * size
        if level < len(config.multipliers) - 1:
            reach += size if config.resample == "conv" else 0
            size *= 2
    return reach + 2 * config.middle_blocks * size + config.out_kernel // 2 * size
