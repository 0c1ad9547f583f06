"""How often a sample is taken for the class that was asked for: a linear probe on the features of a frozen network.

Legend: n images, D features, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from zellige.metrics.features import FeatureNetwork

RIDGE = 1e-2
"""Penalty of the weights, as a share of the features' own spread."""


@dataclass(frozen=True)
class ClassProbe:
    """Ridge regression from features to classes; the largest score is the class.

    Attributes:
        features: the frozen network.
        mean: of each feature over the images that the probe was fitted to, (D,); ``scale`` their deviation.
        weights: (D, K), and the ``bias`` (K,).
    """

    features: FeatureNetwork
    mean: Tensor
    scale: Tensor
    weights: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: FeatureNetwork, batches: Iterable[tuple[Tensor, Tensor]], classes: int) -> ClassProbe:
        """A probe of images (B, 3, H, W) in [-1, 1] and their classes (B,), in batches."""
        found = [(features(images).double(), labels) for images, labels in batches]
        x, labels = torch.cat([part for part, _ in found]), torch.cat([part for _, part in found])
        mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
        x = (x - mean) / scale
        share = torch.bincount(labels, minlength=classes).double() / len(labels)
        targets = torch.nn.functional.one_hot(labels, classes).double() - share
        gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
        return cls(features, mean, scale, torch.linalg.solve(gram, x.T @ targets), share)

    def __call__(self, images: Tensor) -> Tensor:
        """Classes (B,) of images (B, 3, H, W) in [-1, 1]."""
        x = (self.features(images).double() - self.mean) / self.scale
        return (x @ self.weights + self.bias).argmax(dim=1)
