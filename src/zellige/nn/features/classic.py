"""VGG-16 and AlexNet as feature pyramids, without their classifiers.

Tensors have torchvision's names (``features.N.weight``), so its files load as they are. Legend: B
samples, C channels, H W positions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation as LPIPS has them, for pixels in [-1, 1]."""


class Pyramid(nn.Module):
    """Layers in sequence; the outputs of some of them are the features.

    Args:
        layers: the network up to its last feature.
        stages: indices of the layers whose outputs count.
        channels: C of each of these outputs.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, layers: Iterable[nn.Module], stages: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.stages, self.channels = stages, channels
        self.register_buffer("shift", torch.tensor(LPIPS_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(LPIPS_SCALE).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] to one (B, C, H', W') a stage, after its ReLU."""
        x, found = (x - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.stages:
                found.append(x)
        return found


def vgg16() -> Pyramid:
    """VGG-16 (arXiv:1409.1556): the last ReLU of each of its five levels, at strides 1 to 16."""
    layers: list[nn.Module] = []
    channels = 3
    for level, (width, count) in enumerate(zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True)):
        if level:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return Pyramid(layers, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512))


def alexnet() -> Pyramid:
    """AlexNet in the one-tower form (arXiv:1404.5997): its five ReLUs."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    ]
    return Pyramid(layers, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256))
