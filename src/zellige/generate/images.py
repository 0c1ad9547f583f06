"""`ImageGenerator`: a generator and the tokenizer whose tokens it models, from conditions to pixels.

Legend: B samples, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zellige.core.condition import Condition, TextFeatures
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError, out_of_memory
from zellige.core.generator import Generator
from zellige.core.hub import WEIGHTS, bundled, folder_of, load
from zellige.core.registry import cards
from zellige.core.tokens import Tokens


class ImageGenerator:
    """Draws images.

    Args:
        generator: of tokens.
        tokenizer: that decodes them. Raises `UsageError` if they are not its own.
        precision: float32, or what autocast computes in.
    """

    def __init__(self, generator: Generator, tokenizer: Tokenizer, precision: torch.dtype = torch.float32) -> None:
        check_pair(generator, tokenizer)
        generator.adopt(tokenizer)
        self.generator, self.tokenizer, self.precision = generator, tokenizer, precision

    def draw(self, condition: Condition, seeds: Sequence[int], **options: Any) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1], on the CPU, of one sample a seed.

        Args:
            condition: of each sample, or one for all.
            seeds: one a sample, from 0 up; an image depends on its condition and its seed alone.
            options: as `Generator.sample` takes them.

        Raises `ZelligeError`, with what to do, where a batch of so many does not fit in memory.
        """
        enabled = self.precision is not torch.float32
        try:
            with torch.autocast(self.generator.device.type, self.precision if enabled else None, enabled=enabled):
                tokens: Tokens = self.generator.sample(condition, num=len(seeds), seed=seeds, **options)
                return self.tokenizer.decode(tokens, condition=self._caption(condition)).float().cpu()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            half = f"try --batch-size {len(seeds) // 2}" if len(seeds) > 1 else "take a smaller model"
            raise ZelligeError(f"a batch of {len(seeds)} does not fit in memory; {half}") from error

    def _caption(self, condition: Condition) -> Tensor | None:
        """What a decoder that reads captions, as TA-TiTok's, gets of a text: features of the encoder's last layer."""
        if not getattr(self.tokenizer.config, "caption", 0) or not isinstance(condition, TextFeatures):
            return None
        return condition.features if condition.last is None else condition.last


def open_generator(
    name: str,
    tokenizer: str | None = None,
    *,
    device: str | torch.device = "cpu",
    precision: torch.dtype = torch.float32,
) -> ImageGenerator:
    """A trained generator with its tokenizer.

    Args:
        name: what `zellige.load` takes.
        tokenizer: likewise; None looks for it beside the generator, in ``NAME/tokenizer``, and then takes the one
            that the generator names, if that is one of the library's own: a file does not choose what is downloaded.

    Raises `UsageError` if there is none, or if it is another than the generator was trained with.
    """
    generator = load(name, kind=Generator, device=device, quiet=True)  # type: ignore[type-abstract]
    known = tokenizer or _tokenizer_of(name, generator)
    found = load(known, kind=Tokenizer, device=device, quiet=True)  # type: ignore[type-abstract]
    return ImageGenerator(generator, found, precision)


def check_pair(generator: Generator, tokenizer: Tokenizer) -> None:
    """`UsageError` unless the generator models tokens of these very weights."""
    if generator.spec.codebook != tokenizer.codebook:
        raise UsageError(
            f"{generator.name} models {generator.spec}, and {tokenizer.name} has the codebook {tokenizer.codebook}: "
            "name the tokenizer that it was trained with"
        )
    made_by, given = generator.config.fingerprint, tokenizer.fingerprint()
    if made_by and made_by != given:
        raise UsageError(
            f"{generator.name} models tokens of {generator.config.tokenizer} with weights {made_by}; "
            f"{tokenizer.name} has weights {given}: name the tokenizer that it was trained with"
        )


def _tokenizer_of(name: str, generator: Generator) -> str:
    beside = folder_of(name) / "tokenizer"
    if (beside / WEIGHTS).is_file():
        return str(beside)
    known: str = generator.config.tokenizer
    system, _, preset = known.partition("/")
    card = cards().get(system)
    published = card.presets.get(preset) if card else None
    if system in bundled() or (published is not None and published.weights is not None):
        return known
    raise UsageError(
        f"{generator.name} models tokens of '{known or 'a tokenizer that it does not name'}', which is not in the "
        f"library: name its folder or hub id with --tokenizer, or put it into {Path(name) / 'tokenizer'}"
    )
