"""Pixel losses: distances between images of equal shape, in [-1, 1], averaged over everything."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F


def pixel_loss(output: Tensor, target: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted terms of the pixel loss, computed in float32.

    Args:
        output: reconstruction, (B, 3, …).
        target: original of the same shape.
        weights: of ``mse`` and ``l1``; a weight of zero leaves the term out.
    """
    output, target = output.float(), target.float()
    terms = {"mse": F.mse_loss, "l1": F.l1_loss}
    return {name: weight * terms[name](output, target) for name, weight in weights.items() if weight}
