"""Checkpoints of a training run: one safetensors file, written in one step.

Weights, averaged weights and optimizer states are tensors under a prefix each, and so are the vectors that
codebooks wait with for their start; the step and where the data stands are in the header. Everything random in a
run is a function of its seed and the step, so nothing else is needed to go on exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.tensors import check_state, read_metadata, read_tensors, write_tensors
from zellige.quantize.codebook import Codebook
from zellige.train.sharding import whole

CHECKPOINT = "checkpoint.safetensors"
HEADER = "zellige-checkpoint"
WAITING = "waiting"

Modules = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


def checkpoint_tensors(modules: Modules, optimizers: Optimizers, average: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a checkpoint, whole. Where they are divided among processes, all have to call it.

    Args:
        modules: by prefix; the tokenizer or generator is ``model``.
        optimizers: by prefix.
        average: averaged weights of ``model``.
    """
    tensors = {f"average.{k}": whole(v) for k, v in average.items()}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}.{k}": whole(v) for k, v in module.state_dict().items()}
    for name, book in _codebooks(modules):
        if book.waiting is not None:
            tensors[f"{WAITING}.{name}"] = book.waiting
    for prefix, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{prefix}.{index}.{k}": whole(torch.as_tensor(v)) for k, v in state.items()}
    return tensors


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Replace the folder's checkpoint; if that fails (a full disk), the last one stays.

    Args:
        folder: of the run.
        tensors: of `checkpoint_tensors`.
        header: JSON values: the step, and what says where the data stands.
    """
    try:
        write_tensors(folder / CHECKPOINT, tensors, {HEADER: json.dumps(header)})
    except ZelligeError as error:
        raise ZelligeError(f"{error}; the last checkpoint is kept") from error


def read_header(folder: Path) -> dict[str, Any]:
    """The header of the folder's checkpoint; `UsageError` if there is none, `DataError` if it is damaged."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UsageError(f"nothing to resume: '{folder}' holds no {CHECKPOINT}; leave out --resume to begin")
    try:
        header = dict(json.loads(read_metadata(path)[HEADER]))
        header["step"], header["data"] = int(header["step"]), dict(header["data"])
    except (KeyError, ValueError, TypeError):
        raise DataError(f"'{path}' is no checkpoint of a training run") from None
    return header


def load_checkpoint(folder: Path, modules: Modules, optimizers: Optimizers) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore modules and optimizers in place; returns the averaged weights of ``model`` and the header.

    Raises `UsageError` if there is none, `DataError` if it is damaged or of another model.
    """
    header = read_header(folder)
    path = folder / CHECKPOINT
    tensors = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in ("average", WAITING, *modules, *optimizers)}
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
    waiting = {name: (book, groups[WAITING].pop(name, None)) for name, book in _codebooks(modules)}
    if groups[WAITING] or any(x is not None and x.shape[1:] != book.weight.shape[1:] for book, x in waiting.values()):
        raise DataError(f"'{path}' is of a run with other parts: it holds vectors of another codebook")
    for book, vectors in waiting.values():
        book.waiting = None if vectors is None else vectors.to(book.weight.device)
    for prefix, module in modules.items():
        module.load_state_dict(groups[prefix])
    for prefix, optimizer in optimizers.items():
        _restore(optimizer, groups[prefix], path)
    return groups["average"], header


def _codebooks(modules: Modules) -> Iterator[tuple[str, Codebook]]:
    """The codebooks in all modules, by name."""
    for prefix, module in modules.items():
        for name, part in module.named_modules():
            if isinstance(part, Codebook):
                yield f"{prefix}.{name}", part


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
