"""Convolutional blocks of the VQGAN family.

Legend: B samples, C channels, H W positions. All modules map (B, C, H, W) to (B, C', H', W') and
are fastest on channels-last memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import nearest


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position.

    Unlike group norm it has no spatial statistics, so a tile of an image gets the same features as
    the whole image: tiling is exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_norm(kind: str, channels: int) -> nn.Module:
    """``group``: 32 groups as in VQGAN; ``channel``: per position."""
    if kind == "group":
        return nn.GroupNorm(32, channels, eps=1e-6)
    if kind == "channel":
        return ChannelNorm(channels, eps=1e-6)
    raise nearest(kind, ["group", "channel"], "norm")


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3×3 convolution, twice, added to the input.

    Where the width changes, a 1×1 convolution makes the shortcut. ``shortcut="branch"`` is a quirk
    of the MaskGIT VQGAN: that convolution then acts on the transformed branch, and the input is
    not added at all.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        norm: str = "group",
        bias: bool = True,
        shortcut: str = "input",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if shortcut not in ("input", "branch"):
            raise nearest(shortcut, ["input", "branch"], "shortcut")
        self.norm1 = make_norm(norm, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = make_norm(norm, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.branch_shortcut = shortcut == "branch"
        source = out_channels if self.branch_shortcut else channels
        self.shortcut = nn.Identity() if channels == out_channels else nn.Conv2d(source, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        if self.branch_shortcut and not isinstance(self.shortcut, nn.Identity):
            return h + self.shortcut(h)
        return h + self.shortcut(x)


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, added to the input."""

    def __init__(self, channels: int, *, norm: str = "group") -> None:
        super().__init__()
        self.norm = make_norm(norm, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # The fused kernel takes rows and a dimension of heads; it never holds the (H·W)² weights.
        rows = (conv(h).flatten(2).mT[:, None].contiguous() for conv in (self.query, self.key, self.value))
        h = F.scaled_dot_product_attention(*rows)[:, 0]
        return x + self.out(h.mT.reshape(x.shape))


class ConvDown(nn.Module):
    """Half the size by a 3×3 convolution of stride 2, padded on the right and bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class ConvUp(nn.Module):
    """Twice the size by repetition, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class ShuffleDown(nn.Sequential):
    """Half the size by moving 2×2 cells into channels, mixed by a 1×1 convolution: no overlap."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, channels, 1))


class ShuffleUp(nn.Sequential):
    """Twice the size by a 1×1 convolution to four times the channels, spread over 2×2 cells."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, 4 * channels, 1), nn.PixelShuffle(2))


RESAMPLING: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
    "conv": (ConvDown, ConvUp),
    "pool": (lambda _: nn.AvgPool2d(2), ConvUp),
    "shuffle": (ShuffleDown, ShuffleUp),
}
"""How a level halves the size, and how its counterpart doubles it."""


def make_down(kind: str, channels: int) -> nn.Module:
    """``conv`` (VQGAN), ``pool`` (MaskGIT: mean of 2×2) or ``shuffle``."""
    if kind not in RESAMPLING:
        raise nearest(kind, list(RESAMPLING), "resampling")
    return RESAMPLING[kind][0](channels)


def make_up(kind: str, channels: int) -> nn.Module:
    """The counterpart of `make_down`."""
    if kind not in RESAMPLING:
        raise nearest(kind, list(RESAMPLING), "resampling")
    return RESAMPLING[kind][1](channels)


def to_sequence(x: Tensor) -> Tensor:
    """(B, D, H, W) to (B, H·W, D); a view on channels-last memory."""
    return x.flatten(2).transpose(1, 2)


def to_grid(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """(B, H·W, D) to (B, D, H, W)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid).contiguous(memory_format=torch.channels_last)
