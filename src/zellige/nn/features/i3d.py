"""I3D, the video classifier whose logits the Fréchet video distance compares (arXiv:1705.07750).

Its batch norms add 1e-5 to the variance, as VideoGPT's port does, not 1e-3 as the original.

Tensors have the names of the published PyTorch file (``Mixed_3b.b1a.conv3d.weight``), so it loads as
it is. Legend: B clips, C channels, T frames, H W positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int, int]

MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of the units b0, b1a, b1b, b2a, b2b and b3b of each block."""

POOLS: dict[str, tuple[Size, Size]] = {"Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}
"""Kernel and stride of the pools in front of blocks."""


def pad_same(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Zeros around (B, C, T, H, W) so that the output has ⌈size / stride⌉ positions; the odd one goes last."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max(0, (-(-size // s) - 1) * s + k - size)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def max_pool(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Maximum with zeros as padding, which change nothing after a ReLU."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class Unit3d(nn.Module):
    """Convolution without bias, batch norm, ReLU; size ⌈size / stride⌉."""

    def __init__(self, channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))), inplace=True)


class Mixed3d(nn.Module):
    """Four branches side by side: 1, 1 then 3, 1 then 3, and pool then 1."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        single, narrow, wide, low, high, pooled = widths
        self.b0 = Unit3d(channels, single)
        self.b1a, self.b1b = Unit3d(channels, narrow), Unit3d(narrow, wide, 3)
        self.b2a, self.b2b = Unit3d(channels, low), Unit3d(low, high, 3)
        self.b3b = Unit3d(channels, pooled)
        self.channels = single + wide + high + pooled

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class Classifier3d(nn.Module):
    """A 1×1×1 convolution with bias."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class I3D(nn.Module):
    """The RGB network for Kinetics-400; in evaluation mode when built.

    Args:
        classes: logits a clip.
    """

    def __init__(self, classes: int = 400) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3d(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3d(64, 64)
        self.Conv3d_2c_3x3 = Unit3d(64, 192, 3)
        channels = 192
        for name, widths in MIXED.items():
            block = Mixed3d(channels, widths)
            self.add_module(name, block)
            channels = block.channels
        self.logits = Classifier3d(channels, classes)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 400), averaged over time, of clips (B, 3, T, 224, 224) in [-1, 1]; T of at least 9."""
        x = max_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name in POOLS:
                x = max_pool(x, *POOLS[name])
            x = self.get_submodule(name)(x)
        return self.logits(F.avg_pool3d(x, (2, 7, 7), stride=1)).mean((2, 3, 4))
