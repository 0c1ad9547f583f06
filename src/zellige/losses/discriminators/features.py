"""A discriminator that reads the features of a frozen network (arXiv:2111.01007, with DINO as in VAR's tokenizers).

Legend: B samples, C channels, N positions, L feature maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zellige.losses.discriminators.norms import GroupedBatchNorm
from zellige.nn.features.frozen import Frozen
from zellige.nn.spectral import spectral_norm


class FeatureDiscriminator(nn.Module):
    """One small head a feature map, each with one logit a position.

    The network below is not trained and is in no state dict, but gradients pass through it to the image.

    Args:
        network: any of `nn.features`: images (B, 3, H, W) in [-1, 1] to L maps (B, C, …).
        channels: C of each map.
        kernel: positions that a head mixes, on a ring, in row order.
        group: samples that the heads normalise together; a batch is at most that, or a multiple of it.
    """

    def __init__(self, network: nn.Module, channels: Sequence[int], *, kernel: int = 9, group: int = 8) -> None:
        super().__init__()
        self.network = Frozen(network)
        self.heads = nn.ModuleList(_head(width, kernel, group) for width in channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to logits (B, Σ N), map by map."""
        maps = self.network(x)
        return torch.cat([head(m.flatten(2)).flatten(1) for head, m in zip(self.heads, maps, strict=True)], dim=1)


class ScaledResidual(nn.Module):
    """(f(x) + x) / √2: as large as x where f(x) is."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) + x) * math.sqrt(0.5)


def _head(channels: int, kernel: int, group: int) -> nn.Sequential:
    """(B, C, N) to (B, 1, N)."""

    def block(kernel: int) -> list[nn.Module]:
        conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, padding_mode="circular")
        return [spectral_norm(conv), GroupedBatchNorm(channels, group), nn.LeakyReLU(0.2)]

    mix = ScaledResidual(*block(kernel))
    return nn.Sequential(*block(1), mix, spectral_norm(nn.Conv1d(channels, 1, 1)))
