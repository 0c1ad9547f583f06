"""DINO's vision transformer from its authors' file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zellige.convert.checkpoint import read_checkpoint
from zellige.convert.weights import WeightFile
from zellige.core.tensors import check_state

if TYPE_CHECKING:
    from zellige.nn.features.vit import ViTFeatures

DINO_VITS16 = WeightFile(
    "DINO's ViT-S/16",
    ("dino_deitsmall16_pretrain.pth",),
    licence="Apache-2.0",
    instead="the discriminator 'features', on EfficientNet-Lite0",
)


def load_dino(path: str | Path | None = None) -> ViTFeatures:
    """The self-supervised ViT-S/16 (arXiv:2104.14294) below a `FeatureDiscriminator`, in evaluation mode.

    Raises:
        UsageError: its weights are not on this machine.
        DataError: a damaged file, or one of another network.
    """
    from zellige.nn.features.vit import ViTFeatures

    file = DINO_VITS16.find(path)
    network, state = ViTFeatures(), read_checkpoint(file)
    check_state(network.state_dict(), state, str(file))
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)
