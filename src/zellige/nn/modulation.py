"""Adaptive normalisation (adaLN, Peebles and Xie, arXiv 2212.09748): a condition shifts, scales and gates.

Legend: B samples, N tokens, C channels, F channels of the condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.linear import Linear
from zellige.nn.norm import make_norm


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x · (1 + scale) + shift``."""
    return x * (1 + scale) + shift


def spread(part: Tensor, tokens: int) -> Tensor:
    """(B, n, C) for n runs of equally many tokens to (B, N, C); one for all, or one for each, stays as it is."""
    return part if part.shape[1] in (1, tokens) else part.repeat_interleave(tokens // part.shape[1], dim=1)


class Modulation(nn.Module):
    """``Linear(SiLU(condition))`` in equal parts: shift, scale, gate for each branch of a block, in this order.

    It starts at zero, so that a block starts as the identity.

    Args:
        dim: C of each part.
        parts: 6 for attention and MLP, 3 for one of them, 2 for a norm without gate.
        condition: F; None for C.
    """

    def __init__(self, dim: int, parts: int, condition: int | None = None) -> None:
        super().__init__()
        self.parts = parts
        self.linear = Linear(condition or dim, parts * dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """A condition (B, F) for all tokens, or (B, N, F) for each, to `parts` tensors (B, 1 or N, C)."""
        if condition.ndim == 2:
            condition = condition[:, None]
        return self.linear(F.silu(condition)).chunk(self.parts, dim=-1)


class SharedModulation(nn.Module):
    """What a `Modulation` of all blocks has made of the condition, plus a learned offset of this block.

    Args:
        dim: C of each part.
        parts: as in `Modulation`.
    """

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1, 1, parts, dim))

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """The parts of all blocks side by side, (B, 1 or N, parts · C), to those of this one, each (B, 1 or N, C)."""
        return (condition.unflatten(-1, self.offset.shape[2:]) + self.offset).unbind(2)


class AdaptiveNorm(nn.Module):
    """A norm without weights of its own, shifted and scaled by the condition: what stands before a head."""

    def __init__(self, dim: int, condition: int | None = None, *, norm: str = "layer", eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = make_norm(norm, dim, eps, affine=False)
        self.modulation = Modulation(dim, 2, condition)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return modulate(self.norm(x), *self.modulation(condition))


def init_normal(module: nn.Module, std: float = 0.02, *, truncated: bool = False) -> None:
    """Weights of linear layers and embeddings from N(0, std²), biases zero; modulations stay at zero."""
    draw = nn.init.trunc_normal_ if truncated else nn.init.normal_
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            draw(part.weight, std=std)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Modulation):
            part.reset_parameters()


def width_std(dim: int, known: int, std: float = 0.02) -> float:
    """The deviation with which layers of `dim` channels pass on as much as those of `known` channels do with `std`.

    A deviation of 0.02 is made for the widths of papers: in narrow networks signals fade with it, and masked
    generators take far longer to learn from what is seen (docs/studies.md, masked generation).
    """
    return std * (known / dim) ** 0.5


def init_xavier(module: nn.Module) -> None:
    """Weights of linear layers uniform with the variance of Xavier, biases zero; embeddings from N(0, 0.02²)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)


class ClassEmbedding(nn.Module):
    """A vector for each class, and in row ``classes`` one for no condition, which guidance contrasts with.

    Args:
        classes: labels are 0 to classes - 1.
        dim: C.
        dropout: share of the labels that are replaced by ``classes`` in training.
    """

    def __init__(self, classes: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.classes, self.dropout = classes, dropout
        self.table = nn.Embedding(classes + 1, dim)

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) to (B, C)."""
        return self.table(drop_labels(labels, self.dropout, self.classes) if self.training else labels)


def drop_labels(labels: Tensor, share: float, null: int) -> Tensor:
    """Labels (B,), each replaced by `null` with the chance `share`."""
    return torch.where(torch.rand(labels.shape, device=labels.device) < share, null, labels)
