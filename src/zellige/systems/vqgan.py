"""VQGAN (Esser et al., arXiv 2012.09841) with any quantizer of the library.

    x ─ ConvEncoder ─ projection ─ quantizer ─ projection ─ ConvDecoder ─ x̂
                                      │
                                    tokens

The base of most two-dimensional tokenizers here. Legend: B samples, N = h·w positions, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from zellige.core.contract import Reconstruction, Tokenizer
from zellige.core.errors import UsageError, nearest
from zellige.core.tokens import Tokens
from zellige.decoders.conv import ConvDecoder
from zellige.encoders.conv import ConvEncoder
from zellige.nn.conv import to_grid, to_sequence
from zellige.nn.convnet import ConvConfig
from zellige.quantize import make_quantizer


@dataclass(frozen=True)
class VQGANConfig(ConvConfig):
    """A convolutional autoencoder and a quantizer.

    Attributes:
        quantizer: a name that `zellige.quantize.make_quantizer` knows.
        quantizer_settings: its numbers: codes, levels, bits, …
        dim: D, channels that the quantizer sees.
        projection: convolutions between `latent` and `dim` channels; ``projection_kernel`` is their size.
        latent_scale: continuous tokens are latents times this, so that they vary by about 1.
        pixel_range: ``signed`` [-1, 1] or ``unit`` [0, 1], what the networks work in.
    """

    quantizer: str = "vq"
    quantizer_settings: Mapping[str, Any] = field(default_factory=dict)
    dim: int = 256
    projection: bool = True
    projection_kernel: int = 1
    latent_scale: float = 1.0
    pixel_range: str = "signed"


class VQGAN(Tokenizer):
    """A convolutional tokenizer of images of any size."""

    config_class: ClassVar[type] = VQGANConfig
    system = "vqgan"
    decoding = ("project_out", "decoder")
    config: VQGANConfig

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__(config)
        if config.pixel_range not in ("signed", "unit"):
            raise nearest(config.pixel_range, ["signed", "unit"], "pixel range")
        self.quantizer = make_quantizer(config.quantizer, config.dim, **config.quantizer_settings)
        self.codebook = self.quantizer.codebook
        if self.codebook and config.latent_scale != 1:
            raise UsageError("latent_scale is for continuous tokens; with codes it is 1")
        seen = self.quantizer.input_dim
        values = seen // self.quantizer.dim  # 2 where the quantizer takes means and log variances
        if not config.projection and config.dim != config.latent:
            raise UsageError(f"without projection the quantizer sees latent={config.latent} channels, not {config.dim}")
        self.encoder = ConvEncoder(config, values)
        self.project_in = self._projection(values * config.latent, seen)
        self.project_out = self._projection(config.dim, config.latent)
        self.decoder = ConvDecoder(config)
        self.stride = config.stride
        if self.encoder.receptive_field is not None and self.decoder.receptive_field is not None:
            beside = config.projection_kernel // 2 if config.projection else 0
            self.receptive_field = (
                self.encoder.receptive_field + beside * self.stride,
                self.decoder.receptive_field + beside,
            )

    def _projection(self, channels: int, out_channels: int) -> nn.Module:
        if not self.config.projection:
            return nn.Identity()
        kernel = self.config.projection_kernel
        return nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)

    def latents(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to latents before quantization (B, D, h, w)."""
        return self.project_in(self.encoder((x + 1) / 2 if self.config.pixel_range == "unit" else x))

    def pixels(self, z_q: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Quantized latents (B, N, D) of a grid to pixels, unclamped."""
        x = self.decoder(self.project_out(to_grid(z_q, grid)))
        return x * 2 - 1 if self.config.pixel_range == "unit" else x

    def forward(self, x: Tensor) -> Reconstruction:
        z = self.latents(x)
        grid = tuple(z.shape[-2:])
        z = to_sequence(z)
        q = self.quantize(z, x)
        tokens = self._tokens(q.ids, q.z_q, grid)
        return Reconstruction(self.pixels(q.z_q, grid), tokens, z, q.z_q, q.losses, q.stats)

    def last_layer(self) -> Tensor:
        return self.decoder.conv_out.weight

    def _encode(self, x: Tensor, condition: Any, budget: Any) -> Tokens:
        return self._encode_latents(x)[1]

    def _encode_latents(self, x: Tensor) -> tuple[Tensor, Tokens]:
        z = self.latents(x)
        grid = tuple(z.shape[-2:])
        z = to_sequence(z)
        code = self.quantizer.encode(z)
        return z, self._tokens(code, code, grid)

    def _decode(
        self, tokens: Tokens, condition: Any, seed: int | None, steps: int | None, guidance: float | None
    ) -> Tensor:
        grid = tokens.layout[-1]
        if len(grid) != 2 or tokens.layout != self.quantizer.layout(grid):
            raise UsageError(f"{self.name} decodes grids; these tokens have the layout {tokens.layout}")
        codes = tokens.data if self.codebook else tokens.data / self.config.latent_scale
        return self.pixels(self.quantizer.lookup(codes), grid)

    def _tokens(self, ids: Tensor | None, latents: Tensor, grid: tuple[int, ...]) -> Tokens:
        if not self.codebook:
            return Tokens(None, (grid,), latents=latents * self.config.latent_scale)
        return Tokens(ids, self.quantizer.layout(grid), self.codebook)
