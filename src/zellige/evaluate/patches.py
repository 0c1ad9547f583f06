"""Fréchet distance over crops at native size: fine detail counts, and a few images give hundreds of samples.

Legend: B crops, H W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zellige.metrics import Measurement
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import ImageFeatures, efficientnet_features
from zellige.nn.features.efficientnet import EfficientNetLite0

SIDE = 256
"""Pixels of a crop's side; images with a smaller side give crops of that side."""
MOST = 4
"""Crops along an axis: those of a large image are spread over it."""
SMALLEST = 32
"""Least side of an image: below, nothing is left at the network's last stage."""


def patch_features(network: EfficientNetLite0) -> ImageFeatures:
    """The network as `PatchDistances` uses it, and as protocols name it."""
    found = efficientnet_features(network, size=None)
    found.variant = f"crops of {SIDE}"
    found.resize = f"crops of {SIDE}×{SIDE} at native size, at most {MOST}×{MOST} an image, evenly spaced"
    return found


class PatchDistances:
    """Distances of several versions of the same images from the originals, whose features are computed once.

    Args:
        network: from `patch_features`.
    """

    def __init__(self, network: ImageFeatures) -> None:
        self.network = network
        self._original = FeatureDistances(network)
        self._versions: dict[str, FeatureDistances] = {}

    def add_original(self, image: Tensor) -> None:
        """Add an image (1, 3, H, W) in [-1, 1]; one under 32 pixels is left out."""
        if min(image.shape[-2:]) >= SMALLEST:
            self._original.add_reference(crops(image))

    def add(self, name: str, image: Tensor) -> None:
        """Add the version `name` of an image, as it came out of a coder; one under 32 pixels is left out."""
        if min(image.shape[-2:]) < SMALLEST:
            return
        if name not in self._versions:
            self._versions[name] = FeatureDistances(self.network)
            self._versions[name].real = self._original.real
        self._versions[name].add_output(crops(image))

    def measure(self, name: str) -> Measurement | None:
        """The distance of a version; None with fewer than two crops."""
        if self._original.real.count < 2:
            return None
        (distance,) = self._versions[name].compute()
        return distance


def crops(image: Tensor) -> Tensor:
    """Squares of `SIDE` that cover an image (1, 3, H, W), unless it is too large for so few: (B, 3, h, w)."""
    height, width = image.shape[-2:]
    squares = [image[..., top : top + SIDE, left : left + SIDE] for top in _starts(height) for left in _starts(width)]
    return torch.cat(squares).contiguous(memory_format=torch.channels_last)


def _starts(side: int) -> list[int]:
    count = min(MOST, max(1, math.ceil(side / SIDE)))
    room = max(0, side - SIDE)
    return [round(i * room / max(1, count - 1)) for i in range(count)]
