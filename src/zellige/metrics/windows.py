"""Local statistics of image pairs, and the conventions under which structural similarity is computed from them.

Legend: B images, C channels, H W pixels, K taps of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError, nearest


@dataclass(frozen=True)
class SSIMConvention:
    """What implementations of SSIM and MS-SSIM differ in. The default is that of the paper.

    Attributes:
        window: ``gaussian`` of `sigma`, or ``uniform``.
        size: its side in pixels.
        sigma: of the Gaussian.
        border: ``valid`` uses positions where the window fits, ``reflect`` all, with mirrored borders.
        sample_covariance: divide by K² − 1 instead of K².
        data_range: R in C₁ = (.01 R)², C₂ = (.03 R)²; None infers it from the images at hand.
        shrink: SSIM average-pools images by round(short side / 256) first, where that is above 1.
        halving: how MS-SSIM halves odd sides: ``zeros`` or ``replicate`` pads them, ``floor`` drops the rest.
        joint_channels: MS-SSIM multiplies scales after, not before, averaging over channels.
    """

    window: Literal["gaussian", "uniform"] = "gaussian"
    size: int = 11
    sigma: float = 1.5
    border: Literal["valid", "reflect"] = "valid"
    sample_covariance: bool = False
    data_range: float | None = 1.0
    shrink: bool = False
    halving: Literal["zeros", "replicate", "floor"] = "zeros"
    joint_channels: bool = False

    def describe(self) -> str:
        """In a few words, for protocols."""
        shape = f"Gaussian {self.size}×{self.size}, σ {self.sigma:g}" if self.window == "gaussian" else ""
        covariance = "sample" if self.sample_covariance else "biased"
        region = "valid region" if self.border == "valid" else "reflected borders"
        words = [shape or f"uniform {self.size}×{self.size}", region, f"{covariance} covariance"]
        if self.data_range != 1:
            words.append("R of the images" if self.data_range is None else f"R = {self.data_range:g}")
        return ", ".join([*words, "pooled to about 256"] if self.shrink else words)


SSIM_CONVENTIONS = {
    "": SSIMConvention(),
    "scikit-image": SSIMConvention("uniform", 7, sample_covariance=True),
    "llamagen": SSIMConvention("uniform", 7, sample_covariance=True, data_range=2.0),
    "torchmetrics": SSIMConvention(border="reflect", halving="floor", joint_channels=True),
    "torchmetrics, range of the images": SSIMConvention(
        border="reflect", halving="floor", joint_channels=True, data_range=None
    ),
    "piq": SSIMConvention(shrink=True, halving="replicate"),
    "piq, not shrunk": SSIMConvention(halving="replicate"),
}
"""By name. The default is that of the paper, of pytorch-msssim and of OmniTokenizer's script; LlamaGen's
script gives twice the range that its values have, which inflates the figure."""


def ssim_convention(name: str) -> SSIMConvention:
    """A convention by its name; `UsageError` with the nearest ones."""
    if name not in SSIM_CONVENTIONS:
        raise nearest(name, [known for known in SSIM_CONVENTIONS if known], "SSIM convention")
    return SSIM_CONVENTIONS[name]


def similarity_maps(x: Tensor, y: Tensor, convention: SSIMConvention) -> tuple[Tensor, Tensor]:
    """Luminance and contrast–structure terms at each position: (B, C, H, W) in [0, 1] to two (B, C, H', W')."""
    if convention.shrink and (factor := round(min(x.shape[-2:]) / 256)) > 1:
        x, y = F.avg_pool2d(x, factor), F.avg_pool2d(y, factor)
    if min(x.shape[-2:]) < convention.size:
        raise UsageError(f"images of {x.shape[-1]}×{x.shape[-2]} are smaller than the window of {convention.size}")
    data_range = convention.data_range
    if data_range is None:
        data_range = max((t.max() - t.min()).item() for t in (x, y))
    # Variances do not depend on the mean: centred values keep their differences exact in float32.
    x, y = x - 0.5, y - 0.5
    moments = torch.cat([x, y, x * x, y * y, x * y])
    if convention.border == "reflect":
        moments = F.pad(moments, (convention.size // 2,) * 4, mode="reflect")
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _filter(moments, convention).chunk(5)
    taps = convention.size**2
    scale = taps / (taps - 1) if convention.sample_covariance else 1.0
    variances = scale * (mean_xx - mean_x**2 + mean_yy - mean_y**2)
    covariance = scale * (mean_xy - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def halve(x: Tensor, convention: SSIMConvention) -> Tensor:
    """Average of 2×2 pixels."""
    down, right = x.shape[-2] % 2, x.shape[-1] % 2
    if convention.halving == "zeros":
        return F.avg_pool2d(x, 2, padding=(down, right))
    if convention.halving == "replicate" and (down or right):
        x = F.pad(x, (1, 0, 1, 0), mode="replicate")
    return F.avg_pool2d(x, 2)


def _filter(x: Tensor, convention: SSIMConvention) -> Tensor:
    """The window over (B, C, H, W), one axis after the other, without padding."""
    taps = torch.arange(convention.size, device=x.device, dtype=x.dtype) - convention.size // 2
    kernel = (
        (-(taps**2) / (2 * convention.sigma**2)).exp() if convention.window == "gaussian" else torch.ones_like(taps)
    )
    kernel = kernel / kernel.sum()
    # A group a plane: several times faster on a CPU than planes as a batch of one channel.
    planes = x.flatten(0, 1)[None]
    groups = planes.shape[1]
    planes = F.conv2d(planes, kernel.view(1, 1, -1, 1).expand(groups, 1, -1, 1), groups=groups)
    planes = F.conv2d(planes, kernel.view(1, 1, 1, -1).expand(groups, 1, 1, -1), groups=groups)
    return planes.view(*x.shape[:2], *planes.shape[-2:])
