"""`ConvEncoder`: the convolutional encoder of the VQGAN family (Esser et al., arXiv 2012.09841).

    pixels ─ patch ─ conv ─┬ blocks (attention) ┬ down … ─ blocks ─ middle ─ norm ─ SiLU ─ conv ─ latents
                           └──── a level ───────┘

Legend: B samples, H W pixels, h w latent positions, D latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.conv import AttentionBlock, ResidualBlock, make_down, make_norm


@dataclass(frozen=True)
class ConvConfig:
    """Numbers of a convolutional encoder and its mirrored decoder.

    Attributes:
        channels: width of the first level.
        multipliers: width of each level as a multiple; each level but the last halves the size.
        blocks: residual blocks a level of the encoder; ``decoder_blocks`` of the decoder.
        middle_blocks: residual blocks at the lowest size, of the encoder and of the decoder.
        latent: D, channels between encoder and decoder.
        patch: pixels a side moved into channels before the first convolution.
        norm: ``group`` or ``channel`` (exact tiling).
        bias: biases in the residual blocks and the encoder's first convolution.
        shortcut: ``input``, or ``branch`` for the MaskGIT quirk.
        resample: ``conv``, ``pool`` or ``shuffle``.
        attention: self-attention at the lowest level, and between the middle blocks.
        out_kernel: size of the encoder's last convolution.
        dropout: in residual blocks, training only.
    """

    channels: int = 128
    multipliers: tuple[float, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    decoder_blocks: int = 3
    middle_blocks: int = 2
    latent: int = 256
    patch: int = 1
    norm: str = "group"
    bias: bool = True
    shortcut: str = "input"
    resample: str = "conv"
    attention: bool = True
    out_kernel: int = 3
    dropout: float = 0.0

    @property
    def stride(self) -> int:
        """Pixels a latent position spans on each side."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def local(self) -> bool:
        """Whether features depend on a bounded neighbourhood only."""
        return self.norm == "channel" and not self.attention

    def block(self, channels: int, out_channels: int) -> ResidualBlock:
        """A residual block of this family."""
        return ResidualBlock(
            channels,
            out_channels,
            norm=self.norm,
            bias=self.bias,
            shortcut=self.shortcut,
            dropout=self.dropout,
        )

    def middle(self, channels: int) -> nn.Sequential:
        """Block, attention (if any), the other blocks, at the lowest size."""
        blocks = [self.block(channels, channels) for _ in range(self.middle_blocks)]
        attention = [AttentionBlock(channels, norm=self.norm)] if self.attention else []
        return nn.Sequential(*blocks[:1], *attention, *blocks[1:])

    def level(self, channels: int, out_channels: int, blocks: int, *, lowest: bool) -> nn.Sequential:
        """Residual blocks of one level; at the lowest one each is followed by attention, if any."""
        layers: list[nn.Module] = []
        for i in range(blocks):
            layers.append(self.block(channels if i == 0 else out_channels, out_channels))
            if lowest and self.attention:
                layers.append(AttentionBlock(out_channels, norm=self.norm))
        return nn.Sequential(*layers)


class ConvEncoder(nn.Module):
    """Pixels (B, 3, H, W) to latents (B, D, H / stride, W / stride)."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        widths = [int(config.channels * m) for m in config.multipliers]
        last = len(widths) - 1
        self.unshuffle = nn.PixelUnshuffle(config.patch)
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.channels, 3, padding=1, bias=config.bias)
        self.levels = nn.ModuleList(
            config.level(c, w, config.blocks, lowest=i == last)
            for i, (c, w) in enumerate(zip([config.channels, *widths[:-1]], widths, strict=True))
        )
        self.downs = nn.ModuleList(make_down(config.resample, w) for w in widths[:-1])
        self.middle = config.middle(widths[-1])
        self.norm_out = make_norm(config.norm, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.latent, config.out_kernel, padding=config.out_kernel // 2)
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
