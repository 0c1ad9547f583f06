"""What a step consists of: AdamW, its schedule, gradients of several batches, the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from zellige.quantize.codebook import Codebook
from zellige.train.recipe import Optimizer
from zellige.train.sharding import part

T = TypeVar("T")


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Optimizer) -> torch.optim.AdamW:
    """AdamW in its fused form."""
    return torch.optim.AdamW(
        parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def learning_rate(step: int, steps: int, settings: Optimizer) -> float:
    """Linear warm-up, then half a cosine down to `final` × `lr`."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, steps - settings.warmup)
    return settings.lr * (settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * done)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def synced(accelerator: Accelerator, module: nn.Module, items: Sequence[T]) -> Iterator[T]:
    """The items one by one, for a forward and a backward pass each; processes sum gradients at the last alone."""
    for item in items[:-1]:
        with accelerator.no_sync(module):
            yield item
    yield items[-1]


def copy_statistics(module: nn.Module) -> list[Tensor]:
    """What a forward pass changes by itself: statistics of codes and of batches, and the codebooks."""
    return [tensor.detach().clone() for tensor in _self_changing(module)]


@torch.no_grad()
def restore_statistics(module: nn.Module, before: list[Tensor]) -> None:
    """Undo what forward passes changed since `copy_statistics`."""
    for tensor, value in zip(_self_changing(module), before, strict=True):
        tensor.copy_(value)
    for book in module.modules():
        if isinstance(book, Codebook):
            book.replaced = None


def _self_changing(module: nn.Module) -> list[Tensor]:
    """Buffers, parameters without gradients, and codebooks with them: these start and revive codes."""
    codes = {id(book.weight) for book in module.modules() if isinstance(book, Codebook)}
    return [*module.buffers(), *(p for p in module.parameters() if not p.requires_grad or id(p) in codes)]


@torch.no_grad()
def update_average(average: dict[str, Tensor], state: dict[str, Tensor], decay: float, step: int) -> None:
    """Exponential moving average of a state dict, in place; counters are copied.

    Early on the decay is (1 + step) / (10 + step), so that the start is forgotten soon.
    """
    decay = min(decay, (1 + step) / (10 + step))
    floats = [k for k, v in average.items() if v.is_floating_point()]
    torch._foreach_lerp_([part(average[k]) for k in floats], [part(state[k]) for k in floats], 1 - decay)
    for k in average.keys() - set(floats):
        average[k].copy_(state[k])


@torch.no_grad()
def restart_replaced(average: dict[str, Tensor], module: nn.Module) -> None:
    """Begin new averages of the codes that were replaced since the last call, in place.

    Codes of one number before and after have nothing in common, and their mean stands for neither.
    """
    for name, book in module.named_modules():
        if isinstance(book, Codebook) and book.replaced is not None:
            average[f"{name}.weight"][book.replaced] = book.weight[book.replaced]
            book.replaced = None
