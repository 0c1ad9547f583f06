"""The numbers that a convolutional encoder and its mirrored decoder share, and the levels built from them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from zellige.nn.conv import AttentionBlock, ResidualBlock


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
        attention: self-attention at some levels, and between the middle blocks.
        attention_levels: levels of the encoder whose blocks are each followed by self-attention, 0 for that of
            the full size, −1 for the lowest; ``decoder_attention_levels`` of the decoder, numbered alike.
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
    attention_levels: tuple[int, ...] = (-1,)
    decoder_attention_levels: tuple[int, ...] = (-1,)
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

    def attends(self, level: int, *, decoder: bool = False) -> bool:
        """Whether a level of the encoder or decoder, 0 for that of the full size, has self-attention."""
        chosen, levels = self.decoder_attention_levels if decoder else self.attention_levels, len(self.multipliers)
        return self.attention and level in {number % levels for number in chosen}

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

    def level(self, channels: int, out_channels: int, blocks: int, *, attention: bool) -> nn.Sequential:
        """Residual blocks of one level, each followed by self-attention if asked for."""
        layers: list[nn.Module] = []
        for i in range(blocks):
            layers.append(self.block(channels if i == 0 else out_channels, out_channels))
            if attention:
                layers.append(AttentionBlock(out_channels, norm=self.norm))
        return nn.Sequential(*layers)
