"""The weights of golden cases, drawn from the official names of the tensors."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NEAR_ONE = ("weight", "gamma", "scale", "g", "running_var")
"""Last parts of the names of vectors that multiply, and are therefore drawn around 1."""


def draw(name: str, shape: Sequence[int]) -> Tensor:
    """The float32 value of the tensor with the official name `name`, the same on both sides.

    Two and more dimensions: N(0, 1 / fan-in), fan-in the product of all but the first. Vectors:
    N(0, 0.02²), around 1 for `NEAR_ONE` names, running variances at least 0.1. Scalars: 1.
    """
    if len(shape) == 0:
        return torch.ones(())
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(tuple(shape), dtype=np.float32)
    if len(shape) >= 2:
        x /= math.sqrt(max(1, math.prod(shape[1:])))
        return torch.from_numpy(x)
    x *= 0.02
    last = name.rsplit(".", 1)[-1]
    if last in NEAR_ONE:
        x += 1.0
    return torch.from_numpy(np.maximum(x, 0.1) if last == "running_var" else x)


def official_state(keys: Mapping[str, Sequence[int]], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """An official state dict: every key drawn, with the exceptions that the case's `meta` names.

    ``scale`` multiplies the tensors it names; ``gain`` multiplies everything of two or more
    dimensions; ``kept_buffers`` keep their computed values, and so are left out.
    """
    kept, scale, gain = set(meta.get("kept_buffers", ())), meta.get("scale", {}), float(meta.get("gain", 1.0))
    state = {name: draw(name, shape) for name, shape in keys.items() if name not in kept}
    for name, value in state.items():
        value *= scale.get(name, 1.0) * (gain if value.ndim >= 2 else 1.0)
    return state
