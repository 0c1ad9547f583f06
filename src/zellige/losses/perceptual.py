"""Distances between images as a fixed network sees them.

Legend: B samples, C channels, L feature maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import nearest
from zellige.nn.features.frozen import Frozen
from zellige.nn.features.lpips import LPIPS, unit_channels
from zellige.nn.precision import at_least_float32


class LPIPSLoss(nn.Module):
    """Mean LPIPS of a batch (arXiv:1801.03924). The network is not trained and is in no state dict."""

    def __init__(self, lpips: LPIPS) -> None:
        super().__init__()
        self.lpips = Frozen(lpips)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """A scalar from images (B, 3, H, W) in [-1, 1]."""
        return self.lpips(at_least_float32(output), at_least_float32(target)).mean()


class PerceptualLoss(nn.Module):
    """Weighted sum of distances between the feature maps of two images (arXiv:1603.08155).

    `network` is any of `nn.features`; it is not trained and is in no state dict. With class logits as the
    only feature, ``distance="mse"`` and ``size=224`` this is the ConvNeXt loss of TiTok (arXiv:2406.07550).

    Args:
        network: images (B, 3, H, W) in [-1, 1] to L maps (B, C, …).
        weights: of each map; None takes the mean of all.
        distance: one of `DISTANCES`: ``unit`` compares directions of feature vectors, as LPIPS does, and
            so gives all maps the same scale; ``mse`` and ``l1`` compare values.
        size: side to which both images are resized first (bilinear, antialiased); None leaves them.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        weights: Sequence[float] | None = None,
        distance: str = "unit",
        size: int | None = None,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise nearest(distance, list(DISTANCES), "distance of features")
        self.network = Frozen(network)
        self.weights, self.distance, self.size = weights, DISTANCES[distance], size

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """A scalar from images (B, 3, H, W) in [-1, 1]; no gradient goes to `target`."""
        with torch.no_grad():
            wanted = self._features(target)
        found = self._features(output)
        weights = self.weights or [1 / len(found)] * len(found)
        terms = [w * self.distance(a, b) for w, a, b in zip(weights, found, wanted, strict=True)]
        return torch.stack(terms).sum()

    def _features(self, x: Tensor) -> list[Tensor]:
        x = at_least_float32(x)
        if self.size is not None:
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return self.network(x)


def _unit(a: Tensor, b: Tensor) -> Tensor:
    return (unit_channels(a) - unit_channels(b)).square().sum(dim=1).mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"unit": _unit, "mse": F.mse_loss, "l1": F.l1_loss}
