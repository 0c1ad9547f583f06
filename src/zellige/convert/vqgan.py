"""Names shared by the convolutional tokenizers that descend from VQGAN.

Ours is written on the right: a level is one sequence of residual blocks, each followed by its
attention where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

Pairs = Iterator[tuple[str, str]]


def same(*names: str) -> Pairs:
    """Modules that are called the same on both sides."""
    return ((name, name) for name in names)


def residual(official: str, ours: str) -> Pairs:
    """A residual block."""
    for leaf in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{official}.{leaf}", f"{ours}.{leaf}"
    yield f"{official}.nin_shortcut", f"{ours}.shortcut"


def attention(official: str, ours: str) -> Pairs:
    """An attention block."""
    for their, our in (("norm", "norm"), ("q", "query"), ("k", "key"), ("v", "value"), ("proj_out", "out")):
        yield f"{official}.{their}", f"{ours}.{our}"


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions ``qkv`` as the three ``q``, ``k`` and ``v``, which are their thirds."""
    split = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if module.endswith(".qkv"):
            split.update(
                {f"{module[:-3]}{name}.{leaf}": part for name, part in zip("qkv", value.chunk(3), strict=True)}
            )
        else:
            split[key] = value
    return split


def fuse_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `split_qkv`."""
    fused = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if module.endswith(".q"):
            fused[f"{module}kv.{leaf}"] = torch.cat([state[f"{module[:-1]}{name}.{leaf}"] for name in "qkv"])
        elif not module.endswith((".k", ".v")):
            fused[key] = value
    return fused
