"""What the configurations of generators of continuous latents have in common, and which tokens they are made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.tokens import TokenSpec
from zellige.generate.config import GeneratorConfig
from zellige.generate.flow import flow_times

FLOW_SAMPLING = ("guidance", "schedule", "power", "interval", "steps", "grid", "guided")
"""The fields of `LatentGeneratorConfig` that a call of `Generator.sample` may replace."""


@dataclass(frozen=True)
class LatentGeneratorConfig(GeneratorConfig):
    """Which latents a flow models, and how it is best sampled.

    Attributes:
        latent_dim: channels of a latent.
        steps: of the flow, on the ``grid`` of `flow_times`.
        guided: the times of the flow, 1 is noise, at which there is guidance; ``interval`` is that of the progress
            from one scale or cell to the next.
    """

    codebook: tuple[int, ...] = ()
    latent_dim: int = 16
    steps: int = 25
    grid: str = "uniform"
    guided: tuple[float, float] = (0.0, 1.0)

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(self.layout, (), self.latent_dim)

    def times(self) -> Tensor:
        """The times of these settings, see `flow_times`."""
        if not self.guided[0] <= self.guided[1]:
            raise UsageError(f"guided is (from, to) with from <= to; got {self.guided}")
        return flow_times(self.steps, self.grid)


def one_grid_of_latents(spec: TokenSpec, system: str) -> dict[str, Any]:
    """Layout and channels as settings, for generators of one grid of latents; `UsageError` for other tokens."""
    if spec.codebook:
        raise UsageError(
            f"{system} models continuous latents, and {spec} are codes: use a tokenizer such as kl-vae, or var, rar"
        )
    if len(spec.layout) != 1 or len(spec.layout[0]) != 2:
        raise UsageError(f"{system} models latents on one grid; these are {spec}: use a tokenizer such as kl-vae")
    return {"layout": spec.layout, "codebook": (), "latent_dim": spec.dim, "tokenizer": "", "fingerprint": ""}
