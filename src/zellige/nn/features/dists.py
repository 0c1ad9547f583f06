"""DISTS: structure and texture similarity of two images (arXiv:2004.07728).

Tensors have the names of the published code (``features.N.weight``, ``alpha``, ``beta``).
Legend: B samples, C channels, H W positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of pixels in [0, 1]."""


class HanningPool(nn.Module):
    """Root of the local mean of squares at stride 2, under a Hann window of 3×3: pooling without aliasing."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        window = torch.hann_window(5, periodic=False)[1:-1]
        kernel = torch.outer(window, window)
        self.register_buffer("filter", (kernel / kernel.sum()).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        energy = F.conv2d(x.square(), self.filter, stride=2, padding=1, groups=len(self.filter))
        return (energy + 1e-12).sqrt()


class DISTS(nn.Module):
    """1 − Σ (α · texture + β · structure) over the image and five stages of VGG-16.

    Texture compares the means of a channel, structure its covariance over all positions. `alpha`
    and `beta`, (1, 1475, 1, 1), come from a file, as the weights of VGG-16 do.
    """

    mean: Tensor
    std: Tensor
    channels = (3, 64, 128, 256, 512, 512)
    counts = (2, 2, 3, 3, 3)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        width = 3
        for level, (channels, count) in enumerate(zip(self.channels[1:], self.counts, strict=True)):
            layers += [HanningPool(width)] if level else []
            for _ in range(count):
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
            self.ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.alpha = nn.Parameter(torch.full((1, sum(self.channels), 1, 1), 0.1))
        self.beta = nn.Parameter(torch.full((1, sum(self.channels), 1, 1), 0.1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.eval()

    def stages(self, x: Tensor) -> list[Tensor]:
        """The image (B, 3, H, W) in [0, 1] itself, and its features at five depths."""
        found = [x]
        x = (x - self.mean) / self.std
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.ends:
                found.append(x)
        return found

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance of each pair (B,) of images (B, 3, H, W) in [-1, 1]; 0 for equal images."""
        total = self.alpha.sum() + self.beta.sum()
        weights = zip(*((w / total).split(self.channels, 1) for w in (self.alpha, self.beta)), strict=True)
        similarity = torch.zeros(len(x), device=x.device)
        for a, b, (alpha, beta) in zip(self.stages((x + 1) / 2), self.stages((y + 1) / 2), weights, strict=True):
            mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
            texture = (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)
            spread_a = (a - mean_a).square().mean((2, 3), keepdim=True)
            spread_b = (b - mean_b).square().mean((2, 3), keepdim=True)
            covariance = (a * b).mean((2, 3), keepdim=True) - mean_a * mean_b
            structure = (2 * covariance + 1e-6) / (spread_a + spread_b + 1e-6)
            similarity = similarity + (alpha * texture + beta * structure).sum((1, 2, 3))
        return 1 - similarity
