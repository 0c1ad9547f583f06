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
        projection: 1×1 convolutions between `latent` and `dim` channels.
        pixel_range: ``signed`` [-1, 1] or ``unit`` [0, 1], what the networks work in.
    """

    quantizer: str = "vq"
    quantizer_settings: Mapping[str, Any] = field(default_factory=dict)
    dim: int = 256
    projection: bool = True
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
        seen = self.quantizer.input_dim
        if not config.projection and (seen, config.dim) != (config.latent, config.latent):
            raise UsageError(f"without projection the quantizer sees latent={config.latent} channels, not {seen}")
        self.encoder = ConvEncoder(config)
        self.project_in = nn.Conv2d(config.latent, seen, 1) if config.projection else nn.Identity()
        self.project_out = nn.Conv2d(config.dim, config.latent, 1) if config.projection else nn.Identity()
        self.decoder = ConvDecoder(config)
        self.stride = config.stride
        self.codebook = self.quantizer.codebook
        if self.encoder.receptive_field is not None and self.decoder.receptive_field is not None:
            self.receptive_field = (self.encoder.receptive_field, self.decoder.receptive_field)

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
        return self.pixels(self.quantizer.lookup(tokens.data), grid)

    def _tokens(self, ids: Tensor | None, latents: Tensor, grid: tuple[int, ...]) -> Tokens:
        if not self.codebook:
            return Tokens(None, (grid,), latents=latents)
        return Tokens(ids, self.quantizer.layout(grid), self.codebook)
