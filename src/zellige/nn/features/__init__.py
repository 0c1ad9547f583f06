"""Networks whose features judge images: in losses, and in metrics.

Each takes images in [-1, 1] and returns a list of feature maps, one a stage (`Features`); what the
network was trained on (range, mean, size) is converted inside. Weights are not part of the library:
a network is built empty and filled from a local file.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Features"]


class Features(Protocol):
    """Anything that turns images (B, 3, H, W) in [-1, 1] into feature maps (B, C, …), one a stage."""

    def __call__(self, x: Tensor, /) -> list[Tensor]: ...
