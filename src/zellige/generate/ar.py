"""Autoregressive sampling: one position after the other. Legend: B samples, L positions, K codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zellige.core.noise import Noise
from zellige.generate.guidance import Guidance

Predict = Callable[[Tensor | None, int], Tensor]
Choose = Callable[[Tensor, Noise], Tensor]


def next_tokens(predict: Predict, length: int, guidance: Guidance, choose: Choose, noise: Noise) -> Tensor:
    """Sample `length` positions, ids (B, L) or (B, L, …).

    Args:
        predict: ids of the position before (None at the first), and the position, to logits (B, …, K). With guidance
            ids and logits have 2B rows, the conditional ones first. It keeps what it needs in a cache.
        length: L. The progress of the guidance at position i is i / L.
        guidance: combines the halves.
        choose: guided logits (B, …, K) to ids (B, …): a `Sampler`.
        noise: of the B samples.
    """
    ids: list[Tensor] = []
    previous = None
    for position in range(length):
        logits = guidance.combine(predict(previous, position), position / length)
        ids.append(choose(logits, noise))
        previous = guidance.double(ids[-1])
    return torch.stack(ids, dim=1)
