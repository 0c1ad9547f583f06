"""Weights divided among the processes of a run (FSDP2, arXiv 2304.11277).

Between steps a process holds an equal part of weights, averaged weights and optimizer states, and of gradients; in
a step it gathers the weights. Codebooks stay whole everywhere, since the forward pass writes to them; so do buffers.
"""

from __future__ import annotations

import copy
import inspect
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from zellige.core.errors import UsageError
from zellige.nn.ranks import sum_ranks, world_size
from zellige.quantize.codebook import Codebook

M = TypeVar("M", bound=nn.Module)

_OLD = f"shard=true needs a newer torch than {torch.__version__}; it is tested with 2.13"


def whole(tensor: Tensor) -> Tensor:
    """A divided tensor put together, which all processes have to call; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """What this process holds of a divided tensor, sharing memory; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def divide(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Divide the parameters of `model`, equal on all processes, and the optimizer's state of them, in place.

    Raises `UsageError` if torch is too old for it.
    """
    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise UsageError(_OLD)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # parts are rows in memory
    before = dict(model.named_parameters())
    mesh = init_device_mesh(next(iter(before.values())).device.type, (world_size(),))
    fully_shard(model, mesh=mesh, ignored_params=set(_codes(model)))
    divided: dict[Tensor, Tensor] = {before[name]: parameter for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        group["params"] = [divided[parameter] for parameter in group["params"]]
        group["fused"] = group["foreach"] = False  # these kernels take either whole or divided tensors
    states = {divided[p]: {k: like(v, divided[p]) for k, v in s.items()} for p, s in optimizer.state.items()}
    optimizer.state.clear()
    optimizer.state.update(states)


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, equal on all processes, divided as a parameter of its shape is; any other as it is."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.detach().contiguous(), parameter.device_mesh, parameter.placements)


def hollow(model: M) -> M:
    """A copy without the numbers of its parameters, for `functional_call` with whole weights."""
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data = parameter.data.new_empty(0)
    return copied


@torch.no_grad()
def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Shorten the gradient of a divided model to `limit`, over all parts; returns the length that it had.

    The gradients of whole parameters are averaged over the processes first, as those of divided ones have been.
    """
    for codes in _codes(model):
        if codes.grad is not None:
            sum_ranks(codes.grad).div_(world_size())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    divided = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    undivided = [g for g in gradients if not isinstance(g, DTensor)]
    if not divided:  # before torch found gradients in records as forward passes return here
        raise UsageError(_OLD)
    norm = (sum_ranks(_square(divided)) + (_square(undivided) if undivided else 0)).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1)
    for gradient in gradients:
        part(gradient).mul_(scale)
    return norm


def _square(gradients: list[Tensor]) -> Tensor:
    """The squared length of some gradients together."""
    return torch.stack([g.square().sum() for g in gradients]).sum()


def _codes(model: nn.Module) -> list[nn.Parameter]:
    return [module.weight for module in model.modules() if isinstance(module, Codebook)]
