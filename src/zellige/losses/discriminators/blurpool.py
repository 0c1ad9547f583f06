"""A convolutional discriminator that blurs before it drops pixels, as StyleGAN's does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BlurPool(nn.Module):
    """Half the size, rounded up, after a binomial blur: no aliasing (arXiv:1904.11486)."""

    kernel: Tensor

    def __init__(self, taps: tuple[float, ...] = (1, 3, 3, 1)) -> None:
        super().__init__()
        row = torch.tensor(taps) / sum(taps)
        self.register_buffer("kernel", row[:, None] * row, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max(0, (-(-size // 2) - 1) * 2 + len(self.kernel) - size)
            pads += [total // 2, total - total // 2]
        kernel = self.kernel.to(x).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(F.pad(x, pads), kernel, stride=2, groups=x.shape[1])


class BlurPoolDiscriminator(nn.Module):
    """Stages of 3×3 convolution, `BlurPool`, group norm and leaky ReLU, then a head (arXiv:2406.07550).

    Before the head the map is reduced to at most `grid` a side by its maxima, so logits are of large
    patches whatever the size of the image.

    Args:
        channels: width of the first convolution; a multiple of 32.
        multipliers: width of each stage as a multiple of it.
        grid: logits a side.
    """

    def __init__(self, channels: int = 128, multipliers: tuple[int, ...] = (1, 2, 4), *, grid: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 5, padding=2), nn.LeakyReLU(0.1))
        stages, source = [], channels
        for multiplier in multipliers:
            width = channels * multiplier
            layers = (nn.Conv2d(source, width, 3, padding=1), BlurPool(), nn.GroupNorm(32, width), nn.LeakyReLU(0.1))
            stages.append(nn.Sequential(*layers))
            source = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveMaxPool2d(grid)
        self.head = nn.Sequential(nn.Conv2d(source, source, 1), nn.LeakyReLU(0.1), nn.Conv2d(source, 1, 5, padding=2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to logits (B, 1, grid, grid)."""
        return self.head(self.pool(self.stages(self.stem(x))))
