"""A loss that keeps logits near zero. Legend: … positions, K classes."""

from __future__ import annotations

from torch import Tensor


def z_loss(logits: Tensor) -> Tensor:
    """Mean square of ``log Σ exp(logits)`` over the positions of logits (…, K) (PaLM, arXiv 2204.02311).

    Softmax does not change if all logits grow alike, so nothing else stops them, and half precision suffers.
    """
    return logits.float().logsumexp(-1).square().mean()
