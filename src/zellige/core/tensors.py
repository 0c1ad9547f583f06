"""Named tensors in safetensors files: read without trust, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zellige.core.errors import DataError, ZelligeError, reason
from zellige.core.files import replacing


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU; `DataError` if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file, by name; `DataError` if it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors of any device and layout, with texts for the header; `ZelligeError` if that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Cloned, because safetensors refuses tensors that share memory.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # what the umask grants: safetensors writes for the owner alone
            save_file(whole, temporary, metadata=metadata)
            temporary.chmod(mode)
    except SafetensorError as error:  # which is how safetensors reports a full disk
        raise ZelligeError(f"cannot write {path}: {reason(error)}") from error


def check_state(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    """`DataError` that names up to three tensors which are missing, unknown or of another shape."""
    if problems := differences(expected, state):
        raise DataError(f"'{where}' holds another architecture: {problems}")


def differences(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Up to three tensors of `state` that are missing, unknown or of another shape, in words; empty if none is."""
    problems = [f"{k} is missing" for k in expected if k not in state]
    problems += [f"{k} is unknown" for k in state if k not in expected]
    problems += [
        f"{k} is {tuple(state[k].shape)}, not {tuple(v.shape)}"
        for k, v in expected.items()
        if k in state and state[k].shape != v.shape
    ]
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"'{path}' is damaged or no safetensors file: {reason(error)}")
