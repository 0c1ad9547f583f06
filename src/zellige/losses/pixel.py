"""Pixel losses: distances between images of equal shape, in [-1, 1], averaged over everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F


def charbonnier_loss(output: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """mean √((x̂ − x)² + eps²): L1 with a round bottom (arXiv:1710.01992)."""
    return ((output - target).square() + eps**2).sqrt().mean()


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "charbonnier": charbonnier_loss,
}


def pixel_loss(output: Tensor, target: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted terms of the pixel loss, computed in float32.

    Args:
        output: reconstruction, (B, 3, …).
        target: original of the same shape.
        weights: by name in `PIXEL_LOSSES`; a weight of zero leaves the term out.
    """
    output, target = output.float(), target.float()
    return {name: weight * PIXEL_LOSSES[name](output, target) for name, weight in weights.items() if weight}
