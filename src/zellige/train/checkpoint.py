"""Checkpoints of a training run: one safetensors file, written in one step.

Weights, averaged weights and optimizer states are tensors under a prefix each; the step and where the data
stands are in the header. Everything random in a run is a function of its seed and the step, so nothing else
is needed to go on exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.tensors import check_state, read_metadata, read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"
HEADER = "zellige-checkpoint"

Modules = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


def save_checkpoint(
    folder: Path, modules: Modules, optimizers: Optimizers, average: Mapping[str, Tensor], header: dict[str, Any]
) -> None:
    """Replace the folder's checkpoint; if that fails (a full disk), the last one stays.

    Args:
        folder: of the run.
        modules: by prefix; the tokenizer is ``model``.
        optimizers: by prefix.
        average: averaged weights of ``model``.
        header: JSON values: the step, and what says where the data stands.
    """
    tensors = {f"average.{k}": v for k, v in average.items()}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
    for prefix, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{prefix}.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    try:
        write_tensors(folder / CHECKPOINT, tensors, {HEADER: json.dumps(header)})
    except ZelligeError as error:
        raise ZelligeError(f"{error}; the last checkpoint is kept") from error


def load_checkpoint(folder: Path, modules: Modules, optimizers: Optimizers) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore modules and optimizers in place; returns the averaged weights of ``model`` and the header.

    Raises `UsageError` if there is none, `DataError` if it is damaged or of another model.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UsageError(f"nothing to resume: '{folder}' holds no {CHECKPOINT}; leave out --resume to begin")
    tensors = read_tensors(path)
    try:
        header = dict(json.loads(read_metadata(path)[HEADER]))
        header["step"], header["data"] = int(header["step"]), dict(header["data"])
    except (KeyError, ValueError, TypeError):
        raise DataError(f"'{path}' is no checkpoint of a training run") from None
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in ("average", *modules, *optimizers)}
    for key, value in tensors.items():
        group, _, rest = key.partition(".")
        if group not in groups:
            raise DataError(f"'{path}' is of a run with other parts: this recipe has no {group}")
        groups[group][rest] = value
    for prefix, module in modules.items():
        if not groups[prefix]:
            raise DataError(f"'{path}' is of a run with other parts: it holds no {prefix}")
        check_state(module.state_dict(), groups[prefix], str(path))
    check_state(modules["model"].state_dict(), groups["average"], str(path))
    for prefix, module in modules.items():
        module.load_state_dict(groups[prefix])
    for prefix, optimizer in optimizers.items():
        _restore(optimizer, groups[prefix], path)
    return groups["average"], header


def _restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill an optimizer with its ``<parameter>.<name>`` tensors."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters):
            raise DataError(f"'{path}' holds the state of another optimizer")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:  # the fused kernel walks memory: strides must be those of the parameter
            value = torch.empty_like(parameter).copy_(value)
        elif value.ndim:
            raise DataError(f"'{path}' holds the state of another optimizer")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
