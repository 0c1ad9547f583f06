"""The contracts `Tokenizer` and `Reducer`, and what all models share; `Generator` is in `zellige.core.generator`.

Legend: B samples, C channels, T frames, H W pixels, N tokens, D latent dimensions.
Pixels are float in [-1, 1], (B, 3, H, W) or (B, 3, T, H, W), everywhere in the library; the input
range that a published model was trained with is converted inside it.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens

if TYPE_CHECKING:
    from PIL.Image import Image

    from zellige.latent.technique import Techniques
    from zellige.quantize.base import Quantized, Quantizer

    ImageLike = Tensor | np.ndarray | Image | str | Path


@dataclass
class Reconstruction:
    """What a tokenizer's training step needs of one forward pass.

    Attributes:
        output: the reconstruction, same shape and range as the input.
        tokens: the tokens it was decoded from.
        latents: (B, N, D) before quantization, or (B, N, 2D) where they are means and log variances;
            ``quantized`` (B, N, D) after it, with its gradient path.
        losses: the tokenizer's own losses, already weighted: codebook, commitment, entropy, …
        stats: scalars to log: usage, perplexity, …
        scores: of a teacher's codes (B, K, h, w), where the tokenizer paints by way of them.
    """

    output: Tensor
    tokens: Tokens
    latents: Tensor
    quantized: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    stats: dict[str, Tensor] = field(default_factory=dict)
    scores: Tensor | None = None


class Model(nn.Module):
    """A system that can be built from numbers, saved and loaded.

    Subclasses set `config_class`, a flat dataclass of plain values, and take one instance of it.

    Attributes:
        name: ``system/preset`` as the registry knows it, or ``system`` for other configurations.
        system: slug of the system.
        licence: terms of the loaded weights; empty for weights trained by the user.
    """

    config_class: ClassVar[type]
    system: ClassVar[str]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.name = self.system
        self.licence = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Model:
        """Build from plain values; `UsageError` names a key that the config does not have."""
        return cls(cls.make_config(config))

    @classmethod
    def make_config(cls, config: Mapping[str, Any]) -> Any:
        """The instance of `config_class` of plain values; `UsageError` as in `from_config`."""
        known = {f.name for f in fields(cls.config_class)}
        for key in config:
            if key not in known:
                raise UsageError(f"{cls.system} has no setting '{key}'; it has {', '.join(sorted(known))}")
        return cls.config_class(**{k: _tuples(v) for k, v in config.items()})

    def config_dict(self) -> dict[str, Any]:
        """The configuration as plain values (JSON-ready)."""
        return asdict(self.config)

    def fingerprint(self) -> str:
        """16 hex digits that identify these weights: SHA-256 over the sorted state dict."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None, card: str = "") -> Path:
        """Write `model.safetensors` (configuration in its header) and a model card to `folder`.

        Args:
            folder: made if need be.
            dtype: of floating-point weights on disk; None keeps them as they are.
            card: text of the README.md beside the weights; empty writes one from what is known.
        """
        from zellige.core.hub import save_pretrained

        return save_pretrained(self, folder, dtype=dtype, card=card)

    def push_to_hub(self, repo: str, *, private: bool = False) -> str:
        """Save and upload to the Hugging Face Hub; returns the address of the repository."""
        from zellige.core.hub import push_to_hub

        return push_to_hub(self, repo, private=private)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


class Tokenizer(Model):
    """Images (or video, shapes, masks) to `Tokens` and back.

    Subclasses implement `forward` for training and the pair `_encode`, `_decode`; this class
    turns what callers pass into pixels and refuses what the system cannot do.

    Attributes:
        codebook: size of each sub-codebook; empty for continuous latents.
        stride: pixels a token spans on each side; other sizes are padded on the right and bottom.
        image_size: the one size the system takes, None for any.
        receptive_field: (pixels beyond its cell that an encoded token sees, token cells beyond
            its own that a decoded pixel sees); None where it is the whole image.
        variable_length: whether `encode` takes a budget.
        samples: whether the decoder draws its output, so that `decode` takes steps and guidance.
        quantizer: of the latents, where the system has one: `quantize` calls it in training, and perturbation asks for
            the `neighbours` of its codes.
        decoding: the children that work on codes alone: what is trained once codes are frozen.
        techniques: what training does to latents beside quantizing them; see `zellige.latent.technique.attach`.
    """

    quantizer: Quantizer
    techniques: Techniques | None = None

    decoding: ClassVar[tuple[str, ...]] = ("decoder",)
    stride: int = 1
    image_size: int | None = None
    receptive_field: tuple[int, int] | None = None
    codebook: tuple[int, ...] = ()
    variable_length: bool = False
    samples: bool = False
    codes_frozen: bool = False

    @abstractmethod
    def _encode(self, x: Tensor, condition: Any, budget: Any) -> Tokens: ...

    @abstractmethod
    def _decode(
        self, tokens: Tokens, condition: Any, seed: int | None, steps: int | None, guidance: float | None
    ) -> Tensor: ...

    @torch.no_grad()
    def encode(self, x: ImageLike, *, condition: Any = None, budget: int | float | None = None) -> Tokens:
        """Tokens of images.

        Args:
            x: float (B, 3, H, W) in [-1, 1]; or a path, a PIL image, a uint8 array (H, W, 3) or
                (B, H, W, 3). Sizes that `stride` does not divide are padded by edge replication;
                crop the decoded image to the original size.
            condition: text or class for conditional tokenizers.
            budget: number of tokens or target quality, for variable-length systems only.
        """
        if budget is not None and not self.variable_length:
            raise UsageError(f"{self.name} has a fixed number of tokens; it takes no budget")
        return self._encode(self._prepare(x), condition, budget)

    @torch.no_grad()
    def encode_latents(self, x: ImageLike) -> tuple[Tensor, Tokens]:
        """Latents (B, N, D) as the quantizer sees them, and the tokens they become, by one pass of the encoder.

        Images as for `encode`. For discrete tokenizers, whose ids are ``quantizer.encode(latents)``.
        """
        return self._encode_latents(self._prepare(x))

    def _encode_latents(self, x: Tensor) -> tuple[Tensor, Tokens]:
        """From a whole forward pass; a system whose decoder costs much gives them without it."""
        found: Reconstruction = self(x)
        return found.latents, found.tokens

    def _prepare(self, x: ImageLike) -> Tensor:
        """What callers pass, as pixels on the device of the weights, of a size that the system takes."""
        from zellige.core.pixels import pad_to_multiple, to_pixels

        pixels = to_pixels(x).to(self.device)
        if self.image_size is not None and tuple(pixels.shape[-2:]) != (self.image_size,) * 2:
            raise UsageError(
                f"{self.name} takes {self.image_size}×{self.image_size} images; this one is "
                f"{pixels.shape[-1]}×{pixels.shape[-2]}: resize and crop it first"
            )
        return pad_to_multiple(pixels, self.stride)

    @torch.no_grad()
    def decode(
        self,
        tokens: Tokens,
        *,
        condition: Any = None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] of tokens.

        `seed`, `steps` and `guidance` are for decoders that sample; others ignore `seed` and
        refuse the rest. Raises `UsageError` if the tokens have another codebook or layout.
        """
        if tokens.codebook != self.codebook:
            raise UsageError(f"{self.name} has the codebook {self.codebook}; these tokens have {tokens.codebook}")
        if (steps is not None or guidance is not None) and not self.samples:
            raise UsageError(f"the decoder of {self.name} does not sample: it takes neither steps nor guidance")
        return self._decode(tokens.to(self.device), condition, seed, steps, guidance).clamp(-1, 1)

    @abstractmethod
    def forward(self, x: Tensor) -> Reconstruction:
        """Encode, quantize and decode with gradients; x is (B, 3, H, W) in [-1, 1]."""

    def quantize(self, z: Tensor, x: Tensor | None = None) -> Quantized:
        """Latents (B, N, D) through the quantizer, and in training through the attached techniques.

        Every `forward` quantizes here, so that any technique goes on any tokenizer. `x`: the images of the latents,
        (B, 3, H, W) in [-1, 1], for techniques that look at them.
        """
        if self.techniques is not None and self.training:
            return self.techniques.run(self, z, x)
        quantized: Quantized = self.quantizer(z)
        return quantized

    def freeze_codes(self) -> None:
        """From now on train the decoder alone: an image keeps its codes, and they their vectors."""
        for name, part in self.named_children():
            if name not in self.decoding:
                part.requires_grad_(False)
        self.codes_frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; frozen codes take no part in it, so that statistics of codes stay too."""
        super().train(mode)
        if self.codes_frozen:
            for name, part in self.named_children():
                part.train(mode and name in self.decoding)
        return self

    def follow(self, teacher: Tokenizer) -> None:
        """Get ready to learn the codes of a frozen tokenizer, and take over what paints them; most tokenizers do not.

        Raises `UsageError` if `forward` does not score its codes, `Reconstruction.scores`.
        """
        raise UsageError(f"{self.name} predicts no teacher's codes: leave loss.teacher out")

    def last_layer(self) -> Tensor:
        """The weight that makes the pixels: what adaptive loss weights differentiate at."""
        raise UsageError(f"{self.system} names no last layer, which an adversarial loss needs")


class Reducer(Protocol):
    """A small dataclass of numbers and one pure function a hook point.

    `select` maps (B, N, D) token features to the kept or merged tokens (B, M, D) and the map
    (B, N) from each original token to the one that now stands for it.
    """

    def select(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


def _tuples(value: Any) -> Any:
    """Lists of a TOML or JSON file as tuples, so that configs stay immutable."""
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
