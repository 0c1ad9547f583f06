"""What the configurations of all generators have in common, and which tokens they can be made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zellige.core.errors import UsageError
from zellige.core.tokens import Layout, TokenSpec
from zellige.generate.guidance import Guidance
from zellige.generate.sampling import Sampler

SAMPLING = ("guidance", "schedule", "power", "interval", "temperature", "top_k", "top_p")
"""The fields of `GeneratorConfig` that a call of `Generator.sample` may replace."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Which tokens a generator models, on which conditions, and how it is best sampled.

    Attributes:
        layout: of the tokens, as in `Tokens`.
        codebook: size of each sub-codebook.
        classes: class labels; 0 for none.
        class_names: of the classes, in their order; empty where they have none.
        text_encoder: whose features of texts condition it, a name on the Hub or a folder; empty where it is not known.
        class_dropout: share of the conditions that training leaves out, which guidance needs.
        tokenizer: whose tokens they are, ``system/preset`` or where it lies; empty where that is not known.
        fingerprint: of that tokenizer's weights.
        guidance: scale of classifier-free guidance, with its ``schedule``, ``power`` and ``interval``, see `Guidance`.
        temperature: of sampling, with ``top_k`` and ``top_p``, see `Sampler`.
    """

    layout: Layout = ((16, 16),)
    codebook: tuple[int, ...] = (1024,)
    classes: int = 1000
    class_names: tuple[str, ...] = ()
    text_encoder: str = ""
    class_dropout: float = 0.1
    tokenizer: str = ""
    fingerprint: str = ""
    guidance: float = 1.0
    schedule: str = "constant"
    power: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    @property
    def spec(self) -> TokenSpec:
        """The kind of the tokens."""
        return TokenSpec(self.layout, self.codebook)

    def guide(self) -> Guidance:
        """The guidance of these settings."""
        return Guidance(self.guidance, self.schedule, self.power, self.interval)

    def sampler(self) -> Sampler:
        """The sampler of these settings."""
        return Sampler(self.temperature, self.top_k, self.top_p)


def one_block_of_codes(spec: TokenSpec, system: str, axes: tuple[int, ...] = (1, 2, 3)) -> dict[str, Any]:
    """Layout and codebook as settings, for generators of one block of ids with one code a position.

    The tokenizer of the preset is not theirs. Raises `UsageError` for other tokens, with what would serve; `axes` are
    the dimensions that the block may have.
    """
    if not spec.codebook:
        raise UsageError(
            f"{system} predicts codes, and {spec} have none: use a tokenizer with a codebook, or xar, flowar"
        )
    if len(spec.layout) > 1:
        raise UsageError(f"{system} predicts one grid or sequence; {spec} come in {len(spec.layout)} blocks: use var")
    if len(spec.codebook) > 1:
        raise UsageError(
            f"{system} predicts one code at each position; these are {spec}: use a tokenizer with one codebook"
        )
    if len(spec.layout[0]) not in axes:
        raise UsageError(f"{system} takes blocks of {' or '.join(map(str, axes))} axes; these are {spec}")
    return {"layout": spec.layout, "codebook": spec.codebook, "tokenizer": "", "fingerprint": ""}
