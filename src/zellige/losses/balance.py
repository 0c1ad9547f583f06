"""How strongly an adversarial loss may pull."""

from __future__ import annotations

import torch
from torch import Tensor

from zellige.nn.precision import at_least_float32
from zellige.nn.ranks import sum_ranks, world_size


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, *, maximum: float = 1e4, eps: float = 1e-4
) -> Tensor:
    """The weight that gives an adversarial loss as much gradient as the reconstruction (arXiv:2012.09841).

    min(‖∂ L_rec / ∂ W‖ / (‖∂ L_adv / ∂ W‖ + eps), maximum), without gradient of its own. The gradients are
    averaged over the ranks first, so that all agree on what one process would find. The graph stays for the
    backward pass; a weight that comes out as no number counts as zero.

    Args:
        reconstruction: pixel and perceptual terms, a scalar.
        adversarial: the generator loss, a scalar.
        last_layer: W, weight of the decoder's last layer.
    """
    gradients = [torch.autograd.grad(loss, last_layer, retain_graph=True)[0] for loss in (reconstruction, adversarial)]
    means = sum_ranks(torch.stack([at_least_float32(gradient) for gradient in gradients])) / world_size()
    wanted, given = means.flatten(1).norm(dim=1)
    return (wanted / (given + eps)).clamp(0.0, maximum).nan_to_num(nan=0.0).detach()
