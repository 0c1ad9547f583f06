"""SSIM, MS-SSIM and GMSD: structure of an image and of its reconstruction, without a network.

Legend: B images, C channels, H W pixels, S scales.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.metrics.base import PerImageMetric, Rounding
from zellige.metrics.protocol import Protocol
from zellige.metrics.windows import halve, similarity_maps, ssim_convention

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales of MS-SSIM, finest first."""


class SSIM(PerImageMetric):
    """Structural similarity of Wang, Bovik, Sheikh and Simoncelli (2004).

    Gaussian window of 11×11, σ 1.5, where it lies wholly inside the image; biased covariance;
    C1 = .01², C2 = .03²; mean over channels and positions. This is what pytorch-msssim and piq
    give, and scikit-image with its Gaussian arguments. Images under 11 pixels have none (NaN).

    Args:
        convention: a name of `SSIM_CONVENTIONS`, for numbers that compare with published ones.
    """

    def __init__(self, rounding: Rounding = "uint8", convention: str = "") -> None:
        super().__init__(rounding)
        self.name, self.convention = convention, ssim_convention(convention)

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        if min(reference.shape[-2:]) < self.convention.size:
            return torch.full((len(reference),), math.nan)
        luminance, structure = similarity_maps(self.unit_range(reference), self.unit_range(output), self.convention)
        return (luminance * structure).mean((1, 2, 3))

    @property
    def protocol(self) -> Protocol:
        definition = f"{self.convention.describe()}; mean over RGB channels, then images"
        return Protocol(
            "SSIM", self.name, definition, data_range="[0, 1]", rounding=self.rounding, samples=self.mean.count
        )


class MSSSIM(PerImageMetric):
    """Multi-scale structural similarity of Wang, Simoncelli and Bovik (2003).

    Contrast and structure at five scales, each half the size of the one before, luminance at the
    coarsest, multiplied with the exponents `SCALE_WEIGHTS`; terms below 0 count as 0. Images under
    161 pixels have none (NaN): the window would not fit at the coarsest scale.
    """

    def __init__(self, rounding: Rounding = "uint8", convention: str = "") -> None:
        super().__init__(rounding)
        self.name, self.convention = convention, replace(ssim_convention(convention), shrink=False)

    @property
    def smallest(self) -> int:
        """Least side of an image in pixels: 161 for a window of 11; 176 where odd sides lose a row."""
        scale = 2 ** (len(SCALE_WEIGHTS) - 1)
        return self.convention.size * scale - (0 if self.convention.halving == "floor" else scale - 1)

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        if min(reference.shape[-2:]) < self.smallest:
            return torch.full((len(reference),), math.nan)
        x, y = self.unit_range(reference), self.unit_range(output)
        last = len(SCALE_WEIGHTS) - 1
        product = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        for scale, weight in enumerate(SCALE_WEIGHTS):
            product = product * self._term(x, y, whole=scale == last).clamp(min=0) ** weight
            if scale < last:
                x, y = halve(x, self.convention), halve(y, self.convention)
        return product.mean(1)

    def _term(self, x: Tensor, y: Tensor, *, whole: bool) -> Tensor:
        """Mean similarity, or its contrast–structure part alone, of each channel: (B, C), or (B, 1) if joint."""
        luminance, structure = similarity_maps(x, y, self.convention)
        if not whole and self.convention.border == "reflect":
            edge = self.convention.size // 2  # torchmetrics counts borders in the whole term only
            structure = structure[..., edge:-edge, edge:-edge]
        values = (luminance * structure if whole else structure).mean((2, 3))
        return values.mean(1, keepdim=True) if self.convention.joint_channels else values

    @property
    def protocol(self) -> Protocol:
        definition = f"5 scales, each {self.convention.describe()}; mean over RGB channels, then images"
        return Protocol(
            "MS-SSIM", self.name, definition, data_range="[0, 1]", rounding=self.rounding, samples=self.mean.count
        )


class GMSD(PerImageMetric):
    """Gradient magnitude similarity deviation (arXiv 1308.3052): spread of the similarity of edges; 0 is best.

    On luma halved by averaging, with Prewitt gradients and zero borders, as piq computes it.
    """

    constant = 170 / 255**2

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        if min(reference.shape[-2:]) < 2:
            return torch.full((len(reference),), math.nan)
        x, y = (self._gradient(self.unit_range(image)) for image in (reference, output))
        similarity = (2 * x * y + self.constant) / (x.square() + y.square() + self.constant)
        return similarity.flatten(1).std(1, correction=0)

    @property
    def protocol(self) -> Protocol:
        definition = "Prewitt gradients of luma at half size, zero borders; standard deviation of their similarity"
        return Protocol("GMSD", "", definition, data_range="[0, 1]", rounding=self.rounding, samples=self.mean.count)

    def _gradient(self, x: Tensor) -> Tensor:
        """Gradient magnitude at half size: (B, 3, H, W) to (B, 1, H', W')."""
        luma = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if luma.shape[-1] % 2 or luma.shape[-2] % 2:
            luma = F.pad(luma, (0, 1, 0, 1))
        row = x.new_tensor([-1.0, 0.0, 1.0]).expand(3, 3) / 3
        gradients = F.conv2d(F.avg_pool2d(luma, 2), torch.stack([row, row.T])[:, None], padding=1)
        return gradients.square().sum(1, keepdim=True).sqrt()
