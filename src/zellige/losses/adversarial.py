"""What a discriminator and the network that it judges ask of its logits.

All functions take logits of any shape and return their mean in float32 or better. ``real`` are the logits of
originals, ``fake`` those of reconstructions; high means "real".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import nearest
from zellige.nn.precision import at_least_float32

T = TypeVar("T")


def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "hinge") -> Tensor:
    """The loss of a discriminator: one of `DISCRIMINATOR_LOSSES`.

    ``hinge`` (arXiv:1705.02894): ½ (mean max(0, 1 − real) + mean max(0, 1 + fake)).
    ``leaky-hinge``: the same with a leaky ReLU of slope 0.01; not bounded below.
    ``vanilla``: ½ (mean softplus(−real) + mean softplus(fake)), the cross entropy of arXiv:1406.2661.
    ``wasserstein`` (arXiv:1701.07875): mean fake − mean real; needs a constraint on the network.
    ``swapped``: the cross entropy with logits and targets exchanged, as some releases have it: it is linear
    in ``real`` and does not see ``fake``. For comparison with them only.
    """
    return _choose(DISCRIMINATOR_LOSSES, kind, "discriminator loss")(at_least_float32(real), at_least_float32(fake))


def generator_loss(fake: Tensor, kind: str = "linear") -> Tensor:
    """The adversarial loss of a generator: one of `GENERATOR_LOSSES`.

    ``linear``: −mean fake, which goes with hinge and Wasserstein losses.
    ``non-saturating``: mean softplus(−fake), which goes with the vanilla loss.
    """
    return _choose(GENERATOR_LOSSES, kind, "generator loss")(at_least_float32(fake))


def r1_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """½ E ‖∂ D(x) / ∂ x‖² at real images (arXiv:1801.04406), a scalar that is differentiable itself.

    Args:
        images: (B, …) that require a gradient.
        logits: what the discriminator made of them, with the sample axis first.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * at_least_float32(gradient).flatten(1).square().sum(dim=1).mean()


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Σ over maps of mean |real − fake|, the inner maps of a discriminator (arXiv:1711.11585).

    No gradient goes to `real`.
    """
    pairs = zip(real, fake, strict=True)
    return torch.stack([F.l1_loss(at_least_float32(b), at_least_float32(a.detach())) for a, b in pairs]).sum()


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def _leaky_hinge(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.leaky_relu(1 - real).mean() + F.leaky_relu(1 + fake).mean())


def _vanilla(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def _wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


def _swapped(real: Tensor, fake: Tensor) -> Tensor:
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    cross_entropy = F.binary_cross_entropy_with_logits
    return 0.5 * (cross_entropy(ones, real) + cross_entropy(zeros, fake))


def _linear(fake: Tensor) -> Tensor:
    return -fake.mean()


def _non_saturating(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


DISCRIMINATOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": _hinge,
    "leaky-hinge": _leaky_hinge,
    "vanilla": _vanilla,
    "wasserstein": _wasserstein,
    "swapped": _swapped,
}
GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"linear": _linear, "non-saturating": _non_saturating}


def _choose(table: dict[str, T], kind: str, what: str) -> T:
    if kind not in table:
        raise nearest(kind, list(table), what)
    return table[kind]
