"""PSNR and SSIM: a reference image against its reconstruction, without a network.

Legend: B images, H W pixels, K taps of the window.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.metrics.base import PairedMetric, PerImageMetric, Rounding
from zellige.metrics.protocol import Measurement, Protocol


class PSNR(PerImageMetric):
    """Peak signal-to-noise ratio, 10 log10(1 / MSE) of each image, then the mean; ∞ for identical images."""

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        return -10 * mse_per_image(self.unit_range(reference), self.unit_range(output)).log10()

    @property
    def protocol(self) -> Protocol:
        return _psnr_protocol("", "10 log₁₀(1/MSE) of each image, then the mean", self.rounding, self.mean.count)


class PooledPSNR(PairedMetric):
    """PSNR of the mean squared error over the whole set, as torchmetrics has it. Never above `PSNR`'s mean."""

    def __init__(self, rounding: Rounding = "uint8") -> None:
        super().__init__(rounding)
        self.squares, self.values, self.count = 0.0, 0, 0

    @property
    def protocol(self) -> Protocol:
        return _psnr_protocol("pooled", "10 log₁₀(1/MSE), MSE over all pixels of the set", self.rounding, self.count)

    def update(self, reference: Tensor, output: Tensor) -> None:
        mse = mse_per_image(self.unit_range(reference), self.unit_range(output))
        self.squares += mse.sum().item() * reference[0].numel()
        self.values += reference.numel()
        self.count += len(reference)

    def compute(self) -> tuple[Measurement, ...]:
        mse = self.squares / self.values if self.values else math.nan
        value = -10 * math.log10(mse) if mse else math.inf
        return (Measurement(value, self.protocol),)

    def merge(self, other: Self) -> None:
        self.squares += other.squares
        self.values += other.values
        self.count += other.count


class SSIM(PerImageMetric):
    """Structural similarity of Wang, Bovik, Sheikh and Simoncelli (2004).

    Gaussian window of 11×11, σ 1.5, where it lies wholly inside the image; biased covariance;
    C1 = .01², C2 = .03²; mean over channels and positions. This is what pytorch-msssim and piq
    give, and scikit-image with its Gaussian arguments. Images under 11 pixels have none (NaN).
    """

    window, sigma = 11, 1.5

    def per_image(self, reference: Tensor, output: Tensor) -> Tensor:
        if min(reference.shape[-2:]) < self.window:
            return torch.full((len(reference),), math.nan)
        return ssim_map(self.unit_range(reference), self.unit_range(output), self.window, self.sigma).mean((1, 2, 3))

    @property
    def protocol(self) -> Protocol:
        return Protocol(
            metric="SSIM",
            definition="Gaussian 11×11, σ 1.5, valid region, biased covariance; mean over RGB channels, then images",
            data_range="[0, 1]",
            rounding=self.rounding,
            samples=self.mean.count,
        )


def mse_per_image(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each image: (B, …) twice to float64 (B,)."""
    return (x - y).square().flatten(1).mean(1, dtype=torch.float64)


def ssim_map(x: Tensor, y: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """SSIM at every position where the window fits: (B, 3, H, W) in [0, 1] to (B, 3, H-K+1, W-K+1)."""
    # Variances do not depend on the mean: centred values keep their differences exact in float32.
    x, y = x - 0.5, y - 0.5
    moments = torch.cat([x, y, x * x, y * y, x * y])
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blur(moments, window, sigma).chunk(5)
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _blur(x: Tensor, window: int, sigma: float) -> Tensor:
    """A Gaussian window over (B, C, H, W), one axis after the other, without padding."""
    taps = torch.arange(window, device=x.device, dtype=x.dtype) - window // 2
    kernel = (-(taps**2) / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    # A group a plane: several times faster on a CPU than planes as a batch of one channel.
    planes = x.flatten(0, 1)[None]
    groups = planes.shape[1]
    planes = F.conv2d(planes, kernel.view(1, 1, -1, 1).expand(groups, 1, -1, 1), groups=groups)
    planes = F.conv2d(planes, kernel.view(1, 1, 1, -1).expand(groups, 1, 1, -1), groups=groups)
    return planes.view(*x.shape[:2], *planes.shape[-2:])


def _psnr_protocol(variant: str, definition: str, rounding: Rounding, samples: int) -> Protocol:
    return Protocol("PSNR", variant, definition, unit="dB", data_range="[0, 1]", rounding=rounding, samples=samples)
