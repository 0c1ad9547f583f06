"""Techniques by name, as a recipe asks for them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from zellige.convert.dinov2 import load_dinov2
from zellige.convert.features import load_efficientnet_lite0
from zellige.core.contract import Tokenizer
from zellige.core.errors import nearest
from zellige.core.settings import build_from
from zellige.latent.align import Codes, Projection, SemanticAlignment
from zellige.latent.perturbation import LatentPerturbation
from zellige.latent.technique import Technique, Techniques
from zellige.nn.features.efficientnet import EfficientNetLite0
from zellige.train.recipe import Recipe


def make_techniques(recipe: Recipe, tokenizer: Tokenizer) -> Techniques | None:
    """The techniques of a recipe, ready for `tokenizer`; None if it has none.

    Raises `UsageError` for a name or a setting that there is not, and for techniques that do not go with the tokenizer.
    """
    made = {name: _make(name, settings) for name, settings in recipe.techniques.items()}
    for technique in made.values():
        technique.prepare(tokenizer, recipe.batch_size)
    return Techniques(made) if made else None


def _make(name: str, settings: dict[str, object]) -> Technique:
    if name not in TECHNIQUES:
        raise nearest(name, list(TECHNIQUES), "technique")
    return build_from(TECHNIQUES[name], f"technique '{name}'", settings)


def _alignment(
    *,
    encoder: str = "efficientnet_lite0",
    weights: str | None = None,
    weight: float = 0.1,
    codes: Codes = "clean",
    projection: Projection = "own",
    scale: float = 1.0,
) -> SemanticAlignment:
    if encoder not in ENCODERS:
        raise nearest(encoder, list(ENCODERS), "encoder")
    return SemanticAlignment(ENCODERS[encoder](weights), weight=weight, codes=codes, projection=projection, scale=scale)


class _Pooled(nn.Module):
    """The feature vectors of a classifier, (B, 3, S, S) to (B, 1280)."""

    width = 1280

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.pooled(x)


TECHNIQUES: dict[str, Callable[..., Technique]] = {"perturbation": LatentPerturbation, "alignment": _alignment}
"""What makes each technique, by the name that recipes use. A new one is entered here."""

_DINOV2 = "facebook/dinov2-base"


def _dinov2(source: str | None) -> nn.Module:
    """As the released tokenizers see it: 256 pixels in patches of 16."""
    return load_dinov2(source or _DINOV2).teacher(size=256, patch=16)


ENCODERS: dict[str, Callable[[str | None], nn.Module]] = {
    "dinov2": _dinov2,
    "efficientnet_lite0": lambda weights: _Pooled(load_efficientnet_lite0(weights)),
}
"""Frozen encoders that tokens can be aligned with.

Each takes the path of its weights, for DINOv2 also a name on the Hub; None to look where such weights lie.
"""
