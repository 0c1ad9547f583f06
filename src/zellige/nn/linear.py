"""Linear layers that sampling reads from memory once a token. Legend: B samples, N tokens, I channels in, O out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 4
"""Rows up to which the weight is multiplied by the input: two samples with guidance, one token at a time."""


class Linear(nn.Linear):
    """`torch.nn.Linear`, but with few tokens on a CPU as fast as memory delivers the weight.

    The products behind ``x · Wᵀ`` are made for many rows: with one to four in float32 they read a weight at a fifth
    to a half of the speed of memory, which is all that next-token sampling does. ``W · xᵀ`` is the same product, with
    the long side where the kernels expect it. Layers with fewer channels out than in gain nothing, and keep the former.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) to (…, O)."""
        if self._streams(x):
            columns = x.reshape(-1, self.in_features).t()
            if columns.shape[1] == 1:  # a product with a vector is slower than one with two columns
                columns = columns.repeat(1, 2)
            y = self.weight @ columns if self.bias is None else torch.addmm(self.bias[:, None], self.weight, columns)
            return y.t()[: x.shape[:-1].numel()].reshape(*x.shape[:-1], self.out_features)
        return F.linear(x, self.weight, self.bias)

    def _streams(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and 0 < x.shape[:-1].numel() <= FEW
            and self.out_features >= self.in_features
            and not torch.is_autocast_enabled("cpu")
        )
