"""PatchGAN: a plain convolutional discriminator that judges overlapping patches (arXiv:1611.07004)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from zellige.losses.discriminators.norms import make_norm
from zellige.nn.spectral import spectral_norm


class PatchDiscriminator(nn.Module):
    """4×4 convolutions with leaky ReLUs, `layers` of them of stride 2, twice as wide each time up to 8 times.

    With three layers a logit sees 70×70 pixels. The first and the last convolution have no norm.

    Args:
        channels: width of the first layer.
        layers: halvings of the size.
        norm: ``batch`` as in VQGAN, ``group``, ``act`` or ``none``; see `make_norm`.
        spectral: divide all weights by their largest singular value, for use with ``none``.
        padding: of each convolution, in pixels; some releases pad by 2.
    """

    def __init__(
        self,
        channels: int = 64,
        layers: int = 3,
        *,
        norm: str = "batch",
        spectral: bool = False,
        padding: int = 1,
    ) -> None:
        super().__init__()
        widths = [channels * min(2**i, 8) for i in range(layers + 1)]

        def conv(source: int, width: int, stride: int, bias: bool = True) -> nn.Module:
            made = nn.Conv2d(source, width, 4, stride=stride, padding=padding, bias=bias)
            nn.init.normal_(made.weight, 0.0, 0.02)
            return spectral_norm(made) if spectral else made

        stages = [nn.Sequential(conv(3, channels, 2), nn.LeakyReLU(0.2))]
        for i, (source, width) in enumerate(pairwise(widths), start=1):
            made = make_norm(norm, width)
            if isinstance(made, nn.BatchNorm2d):
                nn.init.normal_(made.weight, 1.0, 0.02)
            stride = 2 if i < layers else 1
            bias = norm != "batch"  # which has a shift of each channel itself
            stages.append(nn.Sequential(conv(source, width, stride, bias), made, nn.LeakyReLU(0.2)))
        self.stages = nn.ModuleList(stages)
        self.head = conv(widths[-1], 1, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """Outputs of all stages but the logits, for feature matching."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to logits (B, 1, H', W'), H' about H / 2^layers."""
        return self.head(self.features(x)[-1])
