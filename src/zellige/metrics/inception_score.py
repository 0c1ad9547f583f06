"""Inception Score: exp of the mean divergence of each image's class distribution from that of all.

Legend: N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zellige.core.errors import UsageError


@dataclass(frozen=True)
class ScoreBlocks:
    """How samples are split into blocks whose scores are averaged; the score depends on it.

    Attributes:
        count: number of equal blocks, what remains is left out; 0 if `size` says it.
        size: samples a block, the last one may be shorter; 0 if `count` says it.
        seed: of the shuffle before splitting (NumPy's legacy generator); None keeps the order.
    """

    count: int = 0
    size: int = 0
    seed: int | None = None

    def split(self, values: Tensor) -> list[Tensor]:
        """The blocks of (N, C)."""
        n = len(values)
        if self.seed is not None:
            order = np.random.RandomState(self.seed).permutation(n)
            values = values[torch.from_numpy(order)]
        if self.count:
            if n < self.count:
                raise UsageError(f"{n} images cannot be split into {self.count} blocks for the Inception Score")
            return list(values[: n // self.count * self.count].split(n // self.count))
        return list(values.split(self.size or n))


ADM = ScoreBlocks(size=5000)
TORCH_FIDELITY = ScoreBlocks(count=10, seed=2020)
ONE_BLOCK = ScoreBlocks(count=1)


def inception_score(logits: Tensor, blocks: ScoreBlocks = ADM) -> tuple[float, float]:
    """Mean and standard deviation over blocks of exp(mean KL(p(y|x) ‖ p(y))), in float64 (arXiv 1606.03498).

    Args:
        logits: (N, C); published numbers use the 1,008 logits of the FID network without their bias.
        blocks: ``ADM``, ``TORCH_FIDELITY`` or ``ONE_BLOCK``, or others.
    """
    if logits.ndim != 2 or not len(logits):
        raise UsageError(f"the Inception Score takes logits (N, C) of at least one image; got {tuple(logits.shape)}")
    scores = torch.stack([_score(block) for block in blocks.split(logits.double())])
    return scores.mean().item(), scores.std(correction=0).item()


def _score(logits: Tensor) -> Tensor:
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    # p log p is 0 for a class that is never predicted, whatever the log of its mean is.
    entropy_of_mean = -torch.special.xlogy(p.mean(0), p.mean(0)).sum()
    return (entropy_of_mean + (p * log_p).sum(1).mean()).exp()
