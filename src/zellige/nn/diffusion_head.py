"""The small network that removes the noise of one token, given a vector that says what it is to become.

MAR, Li et al., arXiv 2406.11838. Legend: B samples, N tokens, D channels of the data, W of the head, C of the
condition.
"""

from __future__ import annotations

from torch import Tensor, nn

from zellige.nn.mlp import MLP
from zellige.nn.modulation import AdaptiveNorm, Modulation, modulate
from zellige.nn.time import TimeEmbedding


class DiffusionHead(nn.Module):
    """Residual MLPs, modulated by step and condition; every token is for itself.

    Args:
        data: D.
        condition: C.
        width: W.
        depth: of the residual MLPs.
        outputs: channels of the result; noise and variance take 2D.
    """

    def __init__(self, data: int, condition: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.condition = nn.Linear(condition, width)
        self.input = nn.Linear(data, width)
        self.blocks = nn.ModuleList(ModulatedMLP(width) for _ in range(depth))
        self.norm = AdaptiveNorm(width)
        self.output = nn.Linear(width, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights as Xavier has them; modulations and the output start at zero."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        for part in self.modules():
            if isinstance(part, Modulation):
                part.reset_parameters()
        nn.init.zeros_(self.output.weight)

    def forward(self, x: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """Noisy tokens (B, N, D), their steps, int64 (B, N), and conditions (B, N, C) to (B, N, outputs)."""
        dtype = self.input.weight.dtype
        modulation = self.condition(condition) + self.time((steps.double() + 0.5) / 1000)  # in the middle of a step
        x = self.input(x.to(dtype))
        for block in self.blocks:
            x = block(x, modulation)
        return self.output(self.norm(x, modulation))


class ModulatedMLP(nn.Module):
    """``x + gate · MLP(modulated norm of x)``, of W channels throughout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, width, width, activation="silu")
        self.modulation = Modulation(width, 3)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(modulation)
        return x + gate * self.mlp(modulate(self.norm(x), shift, scale))
