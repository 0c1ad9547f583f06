"""Tokenizers whose vision transformers start from a published network."""

from __future__ import annotations

import warnings

from zellige.convert.dinov2 import load_dinov2
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError, ZelligeWarning
from zellige.nn.vit import ViTTrunk


def start_from_backbone(tokenizer: Tokenizer, source: str) -> None:
    """Sets the vision transformers of a tokenizer to the weights of a DINOv2, patches and positions resampled.

    Where they cannot be had this gives a `ZelligeWarning`, and leaves the random weights.

    Args:
        tokenizer: changed in place.
        source: a name on the Hub or a folder, see `load_dinov2`.

    Raises:
        UsageError: the tokenizer has no vision transformer, or one of another size.
    """
    trunks = [module for module in tokenizer.modules() if isinstance(module, ViTTrunk)]
    if not trunks:
        raise UsageError(f"{tokenizer.name} has no vision transformer that could start from '{source}'")
    try:
        dinov2 = load_dinov2(source)
    except ZelligeError as error:
        warnings.warn(f"training starts from random weights: {error}", ZelligeWarning, stacklevel=2)
        return
    for trunk in trunks:
        dinov2.fill(trunk)
