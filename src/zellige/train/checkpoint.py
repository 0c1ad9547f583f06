"""Checkpoints of a training run: one safetensors file, written in one step.

Weights, averaged weights and optimizer state are tensors under a prefix; the step and where the data
stands are in the header. Everything random in a run is a function of its seed and the step, so nothing else
is needed to go on exactly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.tensors import check_state, read_metadata, read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"
HEADER = "zellige-checkpoint"


def save_checkpoint(
    folder: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, header: dict[str, Any]
) -> None:
    """Replace the folder's checkpoint; if that fails (a full disk), the last one stays."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    try:
        write_tensors(folder / CHECKPOINT, tensors, {HEADER: json.dumps(header)})
    except ZelligeError as error:
        raise ZelligeError(f"{error}; the last checkpoint is kept") from error


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore model and optimizer in place; returns the averaged weights and the header.

    Raises `UsageError` if there is none, `DataError` if it is damaged or of another model.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UsageError(f"nothing to resume: '{folder}' holds no {CHECKPOINT}")
    tensors = read_tensors(path)
    try:
        header = dict(json.loads(read_metadata(path)[HEADER]))
        header["step"], header["data"] = int(header["step"]), dict(header["data"])
    except (KeyError, ValueError, TypeError):
        raise DataError(f"'{path}' is no checkpoint of a training run") from None
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, value in tensors.items():
        group, _, rest = key.partition(".")
        groups.setdefault(group, {})[rest] = value
    expected = model.state_dict()
    check_state(expected, groups["model"], str(path))
    check_state(expected, groups["average"], str(path))
    model.load_state_dict(groups["model"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in groups["optimizer"].items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters):
            raise DataError(f"'{path}' holds the state of another optimizer")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:  # the fused kernel walks memory: strides must be those of the parameter
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return groups["average"], header
