"""Inputs of golden cases, and where configurations hide in their meta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.case import Case


def setting(config: Mapping[str, Any], *names: str) -> Any:
    """The first of `names` in a configuration or in one of its tables; None if there is none."""
    tables = [config, *(value for value in config.values() if isinstance(value, dict))]
    return next((table[name] for name in names for table in tables if name in table), None)


def images(case: Case, *, unit: bool, shape: tuple[int, ...]) -> Tensor:
    """The images of a case as float (B, 3, H, W) in [-1, 1], which is what our models take.

    Args:
        case: it holds them as ``image_u8``, or in the official range, or as the seed of uniform noise.
        unit: the official range is [0, 1], not [-1, 1].
        shape: of the noise.
    """
    name = case.find("image_u8", "images_u8", "image", "images", "input", "x", "input_seed", "seed")
    if name is None:
        raise ValueError("the case holds no images under a known name")
    value = case.read(name)
    if name.endswith("seed"):
        value = torch.from_numpy(np.random.Generator(np.random.PCG64(int(value))).random(shape)).float()
    if value.ndim == 3:
        value = value[None]
    if value.dtype == torch.uint8:
        return value.float() / 127.5 - 1
    return value * 2 - 1 if unit else value
