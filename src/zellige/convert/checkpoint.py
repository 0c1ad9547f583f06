"""Read a published checkpoint file as a flat state dict, without executing anything in it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zellige.convert.flax import looks_like_flax, read_flax
from zellige.convert.pickled import NONSENSE, StoredTensor, read_pickled
from zellige.core.errors import DataError, UsageError, reason
from zellige.core.tensors import read_tensors

WRAPPERS = ("ema", "model", "state_dict", "module")
"""Keys under which training scripts store the weights; averaged ones first, as evaluation uses them."""

PREFIXES = ("module.", "_orig_mod.")
"""What data-parallel and compiled models put in front of every key."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, ``.pt``, ``.pth``, ``.bin`` or ``.ckpt`` file, or of Flax, on the CPU.

    Raises:
        UsageError: there is no such file.
        DataError: the file is damaged, holds other objects than tensors, or claims sizes it lacks.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no checkpoint file at {path}")
    state = _unwrap(_read(path))
    if not state:
        raise DataError(f"{path} holds no state dict: no tensors by name, at the top or under {', '.join(WRAPPERS)}")
    if sum(value.numel() for value in state.values()) > 8 * path.stat().st_size:  # a byte holds 8 values at most
        raise DataError(f"{path} is damaged: its tensors claim to be larger than the file")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    return read_flax(path) if looks_like_flax(_first_byte(path)) else _read_torch(path)


def _read_torch(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            _check_archive(path)
        elif _first_byte(path) != _PICKLE:  # files from before torch 1.6 are bare pickles
            raise DataError(f"{path} is no checkpoint: neither a safetensors, a torch nor a Flax file")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError:
        if zipped:  # torch reads nothing of a file with other objects in it; the tensors are there all the same
            return read_pickled(path, _unwrap)
        raise DataError(
            f"{path} holds pickled objects beside tensors, or is damaged; such objects are code and are not "
            "executed: re-save its state dict as .safetensors"
        ) from None
    except NONSENSE as error:
        raise DataError(f"{path} is no intact checkpoint: {reason(error)}") from None


_PICKLE = b"\x80"
"""How a pickle of protocol 2 or later begins."""


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def _check_archive(path: Path) -> None:
    """Refuse archives that would unpack to more than they are: torch stores its records as they are."""
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise DataError(f"{path} is damaged: its records claim to be larger than the file")


def _unwrap(content: Any) -> dict[str, Any]:
    """The tensors by name inside up to three `WRAPPERS`, without `PREFIXES`."""
    if not isinstance(content, dict):
        return {}
    for _ in range(3):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    state = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, (Tensor, StoredTensor))}
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
