"""Inception Score: exp of the mean divergence of each image's class distribution from that of all.

Legend: N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from zellige.core.errors import UsageError, ZelligeError
from zellige.metrics.base import Metric
from zellige.metrics.protocol import Measurement, Protocol


@dataclass(frozen=True)
class ScoreBlocks:
    """How samples are split into blocks whose scores are averaged; the score depends on it.

    Attributes:
        count: number of blocks, equal up to one sample; 0 if `size` says it.
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
            bounds = [i * n // self.count for i in range(self.count + 1)]
            return [values[start:end] for start, end in pairwise(bounds)]
        return list(values.split(self.size or n))

    def describe(self) -> str:
        """In a few words, for protocols."""
        order = "in order" if self.seed is None else f"shuffled by RandomState({self.seed})"
        blocks = f"{self.count} blocks" if self.count else f"blocks of {self.size}" if self.size else "one block"
        return "one block" if self.count == 1 else f"{blocks}, {order}"


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


class InceptionScore(Metric):
    """Inception Score of a stream of logits, which are kept: 8·C bytes an image.

    Args:
        blocks: how they are split; part of the protocol.
        network: the classifier; its `fingerprint`.
    """

    def __init__(self, blocks: ScoreBlocks = ADM, *, network: str = "", fingerprint: str = "") -> None:
        self.blocks, self.network, self.fingerprint = blocks, network, fingerprint
        self._logits: list[Tensor] = []

    def update(self, logits: Tensor) -> None:
        """Add logits (N, C) of generated images."""
        self._logits.append(logits.detach().to("cpu", torch.float64))

    def merge(self, other: Self) -> None:
        self._logits.extend(other._logits)

    def compute(self) -> tuple[Measurement, ...]:
        if not self._logits:
            raise ZelligeError("no logits were added, so there is no Inception Score to report")
        logits = torch.cat(self._logits)
        mean, spread = inception_score(logits, self.blocks)
        protocol = Protocol(
            "Inception Score",
            self.blocks.describe(),
            "exp(mean KL(p(y|x) ‖ p(y))), mean over blocks",
            samples=len(logits),
            network=self.network,
            network_hash=self.fingerprint,
        )
        return (Measurement(mean, protocol, spread),)


def _score(logits: Tensor) -> Tensor:
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    # p log p is 0 for a class that is never predicted, whatever the log of its mean is.
    entropy_of_mean = -torch.special.xlogy(p.mean(0), p.mean(0)).sum()
    return (entropy_of_mean + (p * log_p).sum(1).mean()).exp()
