"""LPIPS and DISTS: an image against its reconstruction, as a trained network sees them.

Legend: B images, H W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zellige.metrics.base import PerImageMetric, Rounding
from zellige.metrics.features import fingerprint
from zellige.metrics.protocol import Protocol
from zellige.nn.features.dists import DISTS
from zellige.nn.features.lpips import LPIPS

SMALLEST = 32
"""Least side of an image: below, the coarsest stage of some network has no position left."""


class PerceptualDistance(PerImageMetric):
    """Mean over images of the distance that a network gives; 0 for equal images, smaller is better.

    Images with a side under 32 pixels have none (NaN).

    Args:
        network: images (B, 3, H, W) in [-1, 1] twice to distances (B,).
        metric: what the figure is called, with `variant` and `definition`.
    """

    def __init__(
        self, network: torch.nn.Module, rounding: Rounding = "uint8", *, metric: str, variant: str, definition: str
    ) -> None:
        super().__init__(rounding)
        self.network, self.metric, self.variant, self.definition = network, metric, variant, definition
        self.fingerprint = fingerprint(network)

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        if min(reference.shape[-2:]) < SMALLEST:
            return torch.full((len(reference),), math.nan)
        with torch.no_grad(), torch.autocast(reference.device.type, enabled=False):
            x, y = (self.unit_range(image.float()) * 2 - 1 for image in (reference, output))
            return self.network(x, y)

    @property
    def protocol(self) -> Protocol:
        return Protocol(
            self.metric,
            self.variant,
            self.definition,
            data_range="[-1, 1]",
            rounding=self.rounding,
            samples=self.mean.count,
            network=self.variant or "VGG-16",
            network_hash=self.fingerprint,
        )


def lpips_distance(network: LPIPS, net: str, rounding: Rounding = "uint8") -> PerceptualDistance:
    """LPIPS v0.1 by ``alex``, ``vgg`` or ``squeeze``, from `zellige.convert.features.load_lpips(net)`."""
    definition = "v0.1, linear heads, mean over positions, sum over stages; mean over images"
    return PerceptualDistance(network, rounding, metric="LPIPS", variant=net, definition=definition)


def dists_distance(network: DISTS, rounding: Rounding = "uint8") -> PerceptualDistance:
    """DISTS, from `zellige.convert.features.load_dists()`."""
    definition = "1 − Σ (α · texture + β · structure) over image and five stages; mean over images"
    return PerceptualDistance(network, rounding, metric="DISTS", variant="", definition=definition)
