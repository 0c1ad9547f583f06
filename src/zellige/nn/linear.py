"""Linear layers that sampling reads from memory once a token. Legend: I channels in, O out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 4
"""Rows up to which the weight is multiplied by the input: two samples with guidance, one token at a time."""
SHORT = 3072
"""Numbers of the input, of at least two rows, up to which this is faster."""


class Linear(nn.Linear):
    """`torch.nn.Linear`, but with few tokens on a CPU about as fast as memory delivers the weight.

    The products behind ``x · Wᵀ`` are made for many rows: with one to four in float32 they read a weight at a fifth
    to a half of the speed of memory, which is all that next-token sampling does. ``W · xᵀ`` is the same product, with
    the long side where the kernels expect it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        count = x.shape[:-1].numel()
        if not self._streams(x, count):
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(count, self.in_features)
        columns = (rows.repeat(2, 1) if count == 1 else rows).t()  # two are faster than one
        y = self.weight @ columns if self.bias is None else torch.addmm(self.bias[:, None], self.weight, columns)
        return y.t()[:count].reshape(*x.shape[:-1], self.out_features)

    def _streams(self, x: Tensor, count: int) -> bool:
        return (
            0 < count <= FEW
            and max(count, 2) * self.in_features <= SHORT
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )
