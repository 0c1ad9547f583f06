"""Agreement of two views of the same samples, against all other samples of the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.nn.ranks import gather_rows


def contrastive_loss(a: Tensor, b: Tensor, *, scale: float = 1.0, normalize: bool = True) -> Tensor:
    """Symmetric InfoNCE (arXiv:2103.00020): mean cross entropy of scale · a·bᵀ and of its transpose.

    The batches of all ranks count as one, with gradients to each.

    Args:
        a: (B, D); row i belongs to row i of `b`.
        b: (B, D).
        scale: one over the temperature.
        normalize: scale rows to length 1 first.
    """
    if normalize:
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    a, b = gather_rows(a), gather_rows(b)
    logits = scale * a @ b.T
    labels = torch.arange(len(a), device=a.device)
    return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
