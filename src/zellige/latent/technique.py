"""Techniques: what training does to latents beside quantizing them, on any tokenizer.

    x ─ encoder ─ z ─ on_latents ─ quantizer ─ on_quantized ─ decoder ─ x̂
                                       └────────── loss

A technique overrides the hooks that it needs. `Tokenizer.quantize` runs them, in training alone; a technique has
no part in the saved model.

Legend: B samples, N positions, D dimensions, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.quantize.base import Quantized, Quantizer

if TYPE_CHECKING:
    from zellige.core.contract import Tokenizer


@dataclass
class Pass:
    """One training pass, as techniques see it.

    Attributes:
        tokenizer: that is trained.
        x: images (B, 3, S, S) in [-1, 1], where the tokenizer hands them over.
        progress: share of the run that is done, in [0, 1].
        z: latents (B, N, D) that were quantized, once `on_latents` of all techniques have run.
        clean: what the quantizer made of them; the tokenizer's own losses see these codes.
        quantized: what goes on to the decoder: `clean` as the techniques have left it.
        stats: scalars to log, which techniques add.
    """

    tokenizer: Tokenizer
    x: Tensor | None
    progress: float
    z: Tensor
    clean: Quantized = field(init=False)
    quantized: Tensor = field(init=False)
    stats: dict[str, Tensor] = field(default_factory=dict)

    @property
    def quantizer(self) -> Quantizer:
        """Of the tokenizer."""
        return self.tokenizer.quantizer


class Technique(nn.Module):
    """A plug-in of training. Every hook leaves things as they are unless overridden.

    Its parameters are trained with the tokenizer's and kept in checkpoints. Randomness comes from torch's global
    generator, which the loop seeds with (seed, step, process).
    """

    def prepare(self, tokenizer: Tokenizer, batch_size: int) -> None:
        """Get ready for a tokenizer and batches of this size, once, before anything is trained.

        Raises `UsageError` if this does not go with the tokenizer, or would do nothing for such batches.
        """

    def on_latents(self, z: Tensor, seen: Pass) -> Tensor:
        """Latents (B, N, D) before quantization to those that are quantized."""
        return z

    def on_quantized(self, quantized: Tensor, seen: Pass) -> Tensor:
        """Quantized latents (B, N, D) to those that are decoded."""
        return quantized

    def loss(self, seen: Pass) -> dict[str, Tensor]:
        """Terms to add to the training loss, already weighted, once all techniques have done the above."""
        return {}


class Techniques(nn.Module):
    """Several techniques, applied in their order.

    Attributes:
        progress: share of the run that is done; the loop sets it before each step.
    """

    def __init__(self, techniques: dict[str, Technique]) -> None:
        """`techniques` by the name that recipes use."""
        super().__init__()
        self.members = nn.ModuleDict(techniques)
        self.progress = 0.0

    def run(self, tokenizer: Tokenizer, z: Tensor, x: Tensor | None) -> Quantized:
        """Quantize latents (B, N, D) of images `x` with all hooks around it.

        The result holds clean ids, the decoder's latents, and losses and statistics of quantizer and techniques.
        """
        seen = Pass(tokenizer, x, self.progress, z)
        for _, technique in self._named():
            seen.z = technique.on_latents(seen.z, seen)
        seen.clean = tokenizer.quantizer(seen.z)
        seen.quantized = seen.clean.z_q
        for _, technique in self._named():
            seen.quantized = technique.on_quantized(seen.quantized, seen)
        losses = dict(seen.clean.losses)
        for name, technique in self._named():
            for term, value in technique.loss(seen).items():
                if term in losses:
                    raise UsageError(f"technique '{name}' adds the loss '{term}', which this training has already")
                losses[term] = value
        return Quantized(seen.quantized, seen.clean.ids, losses, {**seen.clean.stats, **seen.stats})

    def _named(self) -> Iterable[tuple[str, Technique]]:
        return cast(Iterable[tuple[str, Technique]], self.members.items())


class Trained(nn.Module):
    """A tokenizer with its techniques as one module, so that data parallelism sees the parameters of both.

    Calling it is calling the tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, techniques: Techniques) -> None:
        super().__init__()
        self.tokenizer, self.techniques = tokenizer, techniques
        attach(tokenizer, techniques)

    def forward(self, x: Tensor) -> object:
        return self.tokenizer(x)


def attach(tokenizer: Tokenizer, techniques: Techniques | None) -> None:
    """From now on a training pass of `tokenizer` runs `techniques`; None takes them off.

    They do not become part of it: not of its state dict, its parameters, or the file that it is saved to.
    """
    object.__setattr__(tokenizer, "techniques", techniques)  # past nn.Module, which would register them
