"""A network that training uses and never changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import nn


class Frozen(nn.Module):
    """Holds a network apart: in evaluation mode, without gradients of its own, in no state dict.

    Gradients pass through it to its input. It follows its owner to another device, but optimizers,
    checkpoints, `train()` and distributed wrappers do not see it.
    """

    network: nn.Module

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "network", network.eval().requires_grad_(False))

    def forward(self, *args: Any) -> Any:
        return self.network(*args)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)
