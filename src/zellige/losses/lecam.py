"""LeCAM: keeps a discriminator from growing sure of itself where data are few (arXiv:2104.03310)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.precision import at_least_float32
from zellige.nn.ranks import sum_ranks


class LeCAM(nn.Module):
    """Holds the logits of reals near the average logit of fakes, and the other way round.

    E max(0, D(x) − f)² + E max(0, r − D(x̂))², with the moving averages r and f of the mean logits of
    originals and of reconstructions. The averages are buffers, start at zero, and are those of one process
    that sees the batches of all ranks. Add the loss, times about 0.001, to that of the discriminator.

    Args:
        decay: of the averages, a step.
    """

    real: Tensor
    fake: Tensor

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    @torch.no_grad()
    def update(self, real: Tensor, fake: Tensor) -> None:
        """Take logits of any shape into the averages; those of a step that is not finite are left out."""
        sums = torch.stack([real.double().sum(), fake.double().sum()])
        counts = sums.new_tensor([real.numel(), fake.numel()])
        sums, counts = sum_ranks(torch.stack([sums, counts]))
        means = sums / counts
        if torch.isfinite(means).all():
            self.real.lerp_(means[0].to(self.real), 1 - self.decay)
            self.fake.lerp_(means[1].to(self.fake), 1 - self.decay)

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """The regulariser of logits of any shape; a scalar."""
        real, fake = at_least_float32(real), at_least_float32(fake)
        return F.relu(real - self.fake).square().mean() + F.relu(self.real - fake).square().mean()
