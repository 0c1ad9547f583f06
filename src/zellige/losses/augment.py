"""Differentiable augmentation of what a discriminator sees (DiffAugment, arXiv:2006.10738).

The same kind of change on originals and on reconstructions keeps a discriminator from learning its few
originals by heart; gradients pass through to the reconstruction. Legend: B samples, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.nn.precision import at_least_float32


@dataclass(frozen=True)
class Draws:
    """The randomness of one augmentation.

    Attributes:
        gates: (3,) uniform in [0, 1): whether to translate, to change colours, to cut out.
        values: (7, B) uniform in [0, 1): vertical and horizontal translation; brightness, saturation and
            contrast; vertical and horizontal place of the hole.
    """

    gates: Tensor
    values: Tensor

    @classmethod
    def new(cls, batch: int, device: torch.device | str = "cpu") -> Self:
        """From the global generator of the CPU, so that all devices draw alike."""
        gates, values = torch.rand(3), torch.rand(7, batch)
        return cls(gates, values.to(device))


@dataclass(frozen=True)
class DiffAugment:
    """Translation, colour and cutout, each with its chance; optionally a blur that fades during training.

    Attributes:
        probability: chance, a batch, of each of the three.
        translation: furthest shift as a share of the side; what comes in is zero (grey).
        cutout: side of the hole, zero inside, as a share of the image's side; 0 makes none.
    """

    probability: float = 1.0
    translation: float = 0.125
    cutout: float = 0.2

    def __call__(self, x: Tensor, *, blur: float = 0.0, draws: Draws | None = None) -> Tensor:
        """Augmented images.

        Args:
            x: (B, C, H, W).
            blur: strength in [0, 1]: the Gaussian exp2(−(t/σ)²) with σ = blur · √(H/2) pixels.
            draws: randomness; None draws it.

        Returns:
            The same shape, at least in float32.
        """
        x = at_least_float32(x)
        if blur > 0:
            x = gaussian_blur(x, blur * math.sqrt(x.shape[-2] / 2))
        draws = draws or Draws.new(len(x), x.device)
        move, colour, cut = (draws.gates < self.probability).tolist()
        values = draws.values.to(x)
        if move:
            x = translate(x, values[0], values[1], self.translation)
        if colour:
            x = change_colours(x, *values[2:5])
        if cut and self.cutout > 0:
            x = cut_out(x, values[5], values[6], self.cutout)
        return x


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) by exp2(−(t/σ)²) out to 3 σ, mirrored at the edges."""
    radius = min(math.floor(3 * sigma), min(x.shape[-2:]) - 1)
    if radius < 1:
        return x
    kernel = torch.exp2(-(torch.arange(-radius, radius + 1).to(x) / sigma).square())
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    x = F.pad(x, (radius,) * 4, mode="reflect")
    x = F.conv2d(x, kernel[..., None], groups=x.shape[1])
    return F.conv2d(x, kernel[..., None, :], groups=x.shape[1])


def translate(x: Tensor, down: Tensor, right: Tensor, ratio: float) -> Tensor:
    """Shift each image by whole pixels, up to ± `ratio` of its side; `down` and `right` (B,) in [0, 1)."""
    for dim, draw in ((2, down), (3, right)):
        size = x.shape[dim]
        furthest = round(size * ratio)
        shift = (draw * (2 * furthest + 1)).floor().long() - furthest
        source = torch.arange(size, device=x.device) + shift[:, None]  # (B, size)
        inside = (source >= 0) & (source < size)
        shape = (-1, 1, size, 1) if dim == 2 else (-1, 1, 1, size)
        index = source.clamp(0, size - 1).view(shape).expand_as(x)
        x = x.gather(dim, index) * inside.view(shape)
    return x


def change_colours(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add up to ± ½, scale what differs from grey by 0–2, and from the image's mean by ½–1½; draws (B,)."""
    brightness, saturation, contrast = (draw.view(-1, 1, 1, 1) for draw in (brightness, saturation, contrast))
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def cut_out(x: Tensor, down: Tensor, right: Tensor, ratio: float) -> Tensor:
    """Set a rectangle of `ratio` of each side to zero; its middle, drawn by (B,) in [0, 1), may lie on the edge."""
    inside = []
    for size, draw in zip(x.shape[-2:], (down, right), strict=True):
        side = round(size * ratio)
        start = (draw * (size + 1 - side % 2)).floor().long() - side // 2
        distance = torch.arange(size, device=x.device) - start[:, None]  # (B, size)
        inside.append((distance >= 0) & (distance < side))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)
