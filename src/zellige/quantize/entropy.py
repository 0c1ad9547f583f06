"""Entropies of soft assignments to a codebook, the terms that keep it in use.

Both are in nats: the mean entropy of each sample's distribution over codes (low: sure of its code),
and the entropy of the mean distribution (high: all codes in use).

Legend: M vectors, K codes, D dimensions or bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_CHUNK = 2**22
"""Assignment probabilities held at once."""


def entropy_of(p: Tensor) -> Tensor:
    """−Σ p log p over everything in `p`; 0 log 0 is 0, with a finite gradient."""
    return -(p * p.clamp(min=1e-12).log()).sum()


def bit_entropies(logits: Tensor) -> Tensor:
    """Entropy of each independent bit, given its log-odds, stable at any size of them."""
    # H(σ(x)) = softplus(x) − x σ(x): no logarithm of a probability that may round to zero.
    return torch.nn.functional.softplus(logits) - logits * logits.sigmoid()


def soft_assignment_entropies(z: Tensor, codes: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Sample entropy and batch entropy of softmax(−|z − e|² / temperature) (as in MaskGIT, arXiv 2202.04200).

    Args:
        z: (M, D).
        codes: (K, D).
        temperature: above 0, in squared distance.

    Returns:
        Two scalars. Chunks of vectors are recomputed in the backward pass: no M×K table is kept.
    """
    sample, mean = z.new_zeros(()), z.new_zeros(len(codes))
    for chunk in z.split(max(1, _CHUNK // len(codes))):
        entropies, total = checkpoint(_assign, chunk, codes, temperature, use_reentrant=False)
        sample, mean = sample + entropies / len(z), mean + total / len(z)
    return sample, entropy_of(mean)


def _assign(z: Tensor, codes: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    affinity = (2 * z @ codes.t() - codes.square().sum(1)) / temperature
    log_p = affinity.log_softmax(1)
    p = log_p.exp()
    return -(p * log_p).sum(), p.sum(0)


def binary_entropies(logits: Tensor, groups: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Sample entropy and batch entropy of D independent bits a sample, exactly, in O(M·D) and O(M·2^group).

    The sample entropy is the sum of the bits'. The batch entropy of a group of bits is that of the mean
    of all 2^group code probabilities, which is one product of the tables of its two halves. Groups are
    added up: with one group of D bits the result is exact, with several it is the bound of BSQ
    (arXiv 2406.07548, equation 13), which counts the groups as independent.

    Args:
        logits: (M, D) log-odds of the bits being 1.
        groups: sizes of the groups, in the order of the bits; their sum is D.
    """
    sample = bit_entropies(logits).sum(1).mean()
    batch = logits.new_zeros(())
    for part in logits.sigmoid().split(list(groups), dim=1):
        half = part.shape[1] // 2
        low, high = code_probabilities(part[:, :half]), code_probabilities(part[:, half:])
        batch = batch + entropy_of(high.t() @ low / len(part))
    return sample, batch


def code_probabilities(bits: Tensor) -> Tensor:
    """Probabilities (M, 2^D) of all codes, of independent bits that are 1 with probability (M, D); bit 0 fastest."""
    table = bits.new_ones(len(bits), 1)
    for bit in bits.unbind(1):
        table = torch.cat([table * (1 - bit)[:, None], table * bit[:, None]], dim=1)
    return table
