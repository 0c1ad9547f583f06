"""Flax checkpoints: MessagePack files of nested tables, whose arrays are raw bytes with a type and a shape.

Nothing in such a file is code. Names become paths joined with dots, ``params.encoder.Conv_0.kernel``; kernels
are (height, width, in, out) or (in, out), against our (out, in, height, width) and (out, in).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zellige.core.errors import DataError, MissingExtra, reason

_ARRAY, _SCALAR = 1, 3
"""Numbers of the MessagePack extensions with which Flax stores arrays, and single numbers of a NumPy type."""

_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def looks_like_flax(first: bytes) -> bool:
    """Whether a file that begins with this byte may hold a MessagePack table that is not empty."""
    return b"\x81" <= first <= b"\x8f" or first in (b"\xde", b"\xdf")


def read_flax(path: Path) -> dict[str, Tensor]:
    """The arrays of a file written by ``flax.serialization``, on the CPU; `DataError` if it is damaged.

    Raises `MissingExtra` where the library that reads MessagePack is not installed.
    """
    try:
        from msgpack import unpackb
    except ImportError:
        raise MissingExtra("msgpack", "flax") from None

    def extension(code: int, payload: bytes) -> Tensor | None:
        if code not in (_ARRAY, _SCALAR):
            return None
        shape, dtype, data = unpackb(payload)
        return _tensor(shape, dtype, data)

    try:
        content = unpackb(path.read_bytes(), ext_hook=extension)
    except Exception as error:  # whatever unpacking foreign bytes can raise
        raise DataError(f"{path} is no intact Flax checkpoint: {reason(error)}") from None
    return dict(_flat(content)) if isinstance(content, dict) else {}


def _tensor(shape: Any, dtype: Any, data: Any) -> Tensor:
    """`ValueError` unless the bytes are just as many as type and shape ask for."""
    name = dtype.decode() if isinstance(dtype, bytes) else str(dtype)
    if name not in _DTYPES or not isinstance(data, bytes):
        raise ValueError(f"an array of type {name!r}")
    kind: torch.dtype = getattr(torch, name)
    sides = [int(side) for side in shape]
    if min(sides, default=0) < 0 or math.prod(sides) * kind.itemsize != len(data):
        raise ValueError(f"an array of shape {tuple(sides)} with {len(data)} bytes")
    return torch.frombuffer(bytearray(data), dtype=kind).view(sides) if data else torch.zeros(sides, dtype=kind)


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{key}", value


def from_flax(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a Flax model by the leaf names and in the layout of torch: convolutions, dense layers, norms."""
    renamed = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if leaf == "kernel" and value.ndim in (2, 4):
            leaf, value = "weight", value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
        elif leaf in ("scale", "embedding"):
            leaf = "weight"
        renamed[f"{module}.{leaf}"] = value.contiguous()
    return renamed


def to_flax(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_flax` for models without embeddings, whose weights cannot be told from kernels here."""
    renamed = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if leaf == "weight" and value.ndim == 1:
            leaf = "scale"
        elif leaf == "weight" and value.ndim in (2, 4):
            leaf, value = "kernel", value.permute(2, 3, 1, 0) if value.ndim == 4 else value.T
        renamed[f"{module}.{leaf}"] = value
    return renamed
