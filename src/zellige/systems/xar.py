"""xAR, next-X prediction (Ren et al., arXiv 2502.20388): units of a latent grid, one after the other, by flow matching.

    x_t of all units, each at its own time t ─ linear ─ two halves of a transformer, which sees its own unit and those
        before it, modulated by class and time of the unit ─ linear ─ velocity

Training shows the network noisy units before the one that it denoises (noisy context learning), so that errors of
sampling, where it sees its own results in their place, are nothing new to it.
Legend: B samples, N tokens of the grid, L of the sequence, K units of n tokens, D dimensions, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zellige.core.condition import TextFeatures
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import Tokens, TokenSpec
from zellige.generate.cells import make_units, next_units
from zellige.generate.flow import flow_loss, sample_flow
from zellige.generate.latents import FLOW_SAMPLING, LatentGeneratorConfig, one_grid_of_latents
from zellige.nn.attention import block_causal_mask
from zellige.nn.modulation import ClassEmbedding, init_xavier
from zellige.nn.rope import rotary_table
from zellige.nn.staged import Caches, StagedTransformer
from zellige.nn.time import TimeEmbedding


@dataclass(frozen=True)
class XARConfig(LatentGeneratorConfig):
    """xAR-B: four cells of 8×8 latents of KL-16, which 256×256 images have.

    Attributes:
        unit: what is predicted at once, see `make_units`; so is ``divisions``.
        noisy_context: train with noise in the units before too, each by a time of its own; otherwise these are clean,
            and one unit a sample is learned from (teacher forcing).
        stochastic: sample the stochastic equation, not the ordinary one (whose ``grid`` is best ``uniform``).
        dim: C.
        depths: blocks before and after the positions are told again, with ``heads`` of attention each.
        hidden: channels within the MLP; None for ⌊8·C / 3⌋.
        dropout: of branches and attention weights.
    """

    guidance: float = 2.7
    schedule: str = "linear"
    steps: int = 40
    grid: str = "stop-short"
    stochastic: bool = True
    unit: str = "cell"
    divisions: int = 2
    noisy_context: bool = True
    dim: int = 768
    depths: tuple[int, int] = (8, 8)
    heads: tuple[int, int] = (12, 12)
    hidden: int | None = None
    dropout: float = 0.1


class XAR(Generator):
    """Blockwise prediction of continuous latents; sampling takes `steps` passes a unit.

    Attributes:
        units: how the grid is a sequence.
    """

    config_class: ClassVar[type] = XARConfig
    system = "xar"
    sampling = (*FLOW_SAMPLING, "stochastic")
    config: XARConfig
    mask: Tensor
    first_rotary: Tensor
    second_rotary: Tensor

    def __init__(self, config: XARConfig) -> None:
        super().__init__(config)
        self.settings_for(config.spec)
        self.spec, self.classes = config.spec, config.classes
        self.units = make_units(config.unit, config.layout[0], config.divisions)
        dim, sizes = config.dim, self.units.sizes
        self.embed = nn.Linear(config.latent_dim, dim)
        self.condition = ClassEmbedding(config.classes, dim, config.class_dropout)
        self.time = TimeEmbedding(dim)
        self.trunk = StagedTransformer(
            dim, config.depths, config.heads, sum(sizes), hidden=config.hidden, dropout=config.dropout
        )
        self.head = nn.Linear(dim, config.latent_dim)
        self.register_buffer("mask", block_causal_mask(sizes), persistent=False)
        for name, heads in zip(("first_rotary", "second_rotary"), config.heads, strict=True):
            self.register_buffer(name, rotary_table(self.units.positions, dim // heads), persistent=False)
        init_xavier(self)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_grid_of_latents(spec, cls.system)

    def velocity(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """Velocities (B, L, D) of noisy units, each given those before it.

        Args:
            x: the sequence of all units, (B, L, D).
            times: of each unit, (B, K); 0 for a clean one.
            labels: (B,), ``classes`` for no condition.
        """
        condition = self.modulating(times, self.condition(labels))
        if len(set(self.units.sizes)) > 1:
            condition = self.units.repeat(condition)
        return self.head(self.trunk(self.embed(x), condition, mask=self.mask, rotary=self.rotary()))

    def rotary(self, slots: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Tables of some positions for both stages."""
        return self.first_rotary[slots], self.second_rotary[slots]

    def modulating(self, times: Tensor, vector: Tensor) -> Tensor:
        """What modulates n units: their times (B, n) and the class vectors (B, C) to (B, n, C)."""
        return vector[:, None] + self.time(times)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        x = self.units.split(tokens.data.float())
        times, counts = self._times(len(x))

        def velocity(noisy: Tensor) -> Tensor:
            return self.velocity(noisy.to(self.embed.weight.dtype), times, condition)

        errors = flow_loss(velocity, x, self.units.repeat(times), torch.randn_like(x))
        weights = self.units.repeat(counts)
        return {"flow": (errors * weights).sum() / weights.sum()}

    def _times(self, count: int) -> tuple[Tensor, Tensor]:
        """Times (B, K) of training, and which units count: all, or one a sample if those before it are clean."""
        units = len(self.units.sizes)
        times = torch.randn(count, units, device=self.device).sigmoid()
        if self.config.noisy_context:
            return times, torch.ones_like(times)
        index = torch.arange(units, device=self.device)
        current = torch.randint(units, (count, 1), device=self.device)
        return torch.where(index < current, 0.0, times), (index == current).float()

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: XARConfig) -> Tensor:
        assert isinstance(condition, Tensor)
        guidance, times = settings.guide(), settings.times()
        labels = torch.cat([condition, torch.full_like(condition, self.classes)]) if guidance.active else condition
        vector, caches, done = self.condition(labels), self.trunk.caches(), 0

        def see(x: Tensor, time: float, caches: Caches) -> Tensor:
            now = torch.full((len(x), 1), time, device=x.device)
            rotary = self.rotary(slice(done, done + x.shape[1]))
            return self.trunk(self.embed(x), self.modulating(now, vector[: len(x)]), rotary=rotary, caches=caches)

        def draw(before: Tensor | None, index: int, progress: float) -> Tensor:
            nonlocal done
            if before is not None:
                see(guidance.double(before), 0.0, caches)
                for cache in caches:
                    cache.advance(before.shape[1])
                done += before.shape[1]

            def velocity(x: Tensor, time: float) -> Tensor:
                early, late = (cache.first(len(x)) for cache in caches)
                return self.head(see(x, time, (early, late)))

            start = noise.normal(self.units.sizes[index], self.config.latent_dim).to(vector.dtype)
            fresh = noise if settings.stochastic else None
            weight = guidance.at(progress)
            return sample_flow(velocity, start, times, guidance=weight, guided=settings.guided, noise=fresh)

        return self.units.join(next_units(draw, len(self.units.sizes)))
