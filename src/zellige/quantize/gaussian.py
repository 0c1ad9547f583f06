"""The continuous bottleneck of a variational autoencoder.

Legend: B samples, N positions, D dimensions of a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.precision import full_precision
from zellige.quantize.base import Quantized, Quantizer

_LOG_VARIANCE = (-30.0, 20.0)
"""Range the predicted log variance is clamped to, so that its exponential stays finite."""


class GaussianQuantizer(Quantizer):
    """A diagonal Gaussian a position, sampled in training and its mean otherwise (VAE, arXiv 1312.6114).

    Takes (B, N, 2D), the means and then the log variances; gives (B, N, D). Loss: `kl` = w·KL to the
    standard normal, in nats, summed over a sample and averaged over the batch (as in arXiv 2112.10752).
    It has no codes: `encode` gives the means, `lookup` gives back what it gets.

    Statistics: `kl`, nats a latent dimension; `deviation`, the mean standard deviation.
    """

    def __init__(self, dim: int, *, kl_weight: float = 1e-6) -> None:
        """`dim`: D of the latents that come out; `kl_weight`: w."""
        super().__init__()
        self.dim, self.codebook, self.kl_weight = dim, (), kl_weight

    @property
    def input_dim(self) -> int:
        return 2 * self.dim

    def forward(self, z: Tensor) -> Quantized:
        with full_precision(z):
            mean, log_variance = self.moments(z)
            deviation = (log_variance / 2).exp()
            kl = (mean.square() + log_variance.exp() - 1 - log_variance) / 2
            sample = mean + deviation * torch.randn_like(mean) if self.training else mean
            losses = {"kl": self.kl_weight * kl.sum() / len(z)}
        stats = {"kl": kl.detach().mean(), "deviation": deviation.detach().mean()}
        return Quantized(sample.to(z.dtype), None, losses, stats)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """The means, float32 (B, N, D)."""
        return self.moments(z)[0]

    def lookup(self, ids: Tensor) -> Tensor:
        """The latents (B, N, D) themselves."""
        return ids

    def neighbours(self, query: Tensor, k: int) -> Tensor:
        """Raises `UsageError`: continuous latents have no codes."""
        raise UsageError("continuous latents have no neighbouring codes; use a discrete quantizer")

    def moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means and clamped log variances, float32 (B, N, D) each, of (B, N, 2D)."""
        if z.shape[-1] != self.input_dim:
            raise UsageError(f"means and log variances of {self.dim} dimensions are 2·{self.dim}, not {z.shape[-1]}")
        mean, log_variance = z.float().chunk(2, dim=-1)
        return mean, log_variance.clamp(*_LOG_VARIANCE)
