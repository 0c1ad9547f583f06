"""The network within a token that follows attention. Legend: C channels, M hidden channels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import nearest
from zellige.nn.linear import Linear

ACTIVATIONS = ("gelu", "gelu-tanh", "silu")


class MLP(nn.Module):
    """Two linear layers with an activation between them, or a gated pair in place of the first.

    Plain: ``down(act(up(x)))``. Gated (Shazeer, arXiv 2002.05202): ``down(act(gate(x)) · up(x))``, which with SiLU is
    SwiGLU.

    Args:
        dim: C of the input.
        hidden: M.
        out: channels of the output; None for C.
        activation: one of `ACTIVATIONS`.
        gated: see above.
        bias: of all linear layers.
        dropout: of the output.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        out: int | None = None,
        *,
        activation: str = "gelu",
        gated: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise nearest(activation, list(ACTIVATIONS), "activation")
        self.activation = activation
        self.up = Linear(dim, hidden, bias=bias)
        self.gate = Linear(dim, hidden, bias=bias) if gated else None
        self.down = Linear(hidden, out or dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        hidden = self._activate(up) if self.gate is None else self._activate(self.gate(x)) * up
        return self.dropout(self.down(hidden))

    def _activate(self, x: Tensor) -> Tensor:
        if self.activation == "silu":
            return F.silu(x)
        return F.gelu(x, approximate="tanh" if self.activation == "gelu-tanh" else "none")
