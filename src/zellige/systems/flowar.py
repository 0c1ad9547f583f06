"""FlowAR, next-scale generation with flow matching (Ren et al., arXiv 2412.15205), over the latents of any autoencoder.

    class ─────────────────────────────┐
    z_1 … z_{K-1}, each enlarged and   ├─ transformer, modulated by the class, ─ c_1 … c_K
    averaged down to the next ─ embed ─┘   sees its own scale and those before
    noise of a scale ─ flow head, told c_k at each token ─ z_k

Scales are plain averages of the latent, twice as fine each time; what is generated is the last one, the latent itself.
Legend: B samples, K scales, n tokens of a scale, L of all, N of the last, D channels of latents, C of the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zellige.core.condition import TextFeatures
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import Tokens, TokenSpec, layout_size
from zellige.generate.flow import flow_loss, sample_flow
from zellige.generate.latents import FLOW_SAMPLING, LatentGeneratorConfig, one_grid_of_latents
from zellige.generate.scales import enlarge, halvings, next_scales, scale_positions, shrink, views
from zellige.nn.attention import block_causal_mask
from zellige.nn.conv import to_grid
from zellige.nn.flow_head import FlowHead
from zellige.nn.modulation import ClassEmbedding, init_xavier
from zellige.nn.rope import rotary_table
from zellige.nn.staged import StagedTransformer

_SPAN = 16
"""The side that rotary positions lay every map over, whatever its size, as released."""


@dataclass(frozen=True)
class FlowARConfig(LatentGeneratorConfig):
    """FlowAR-S on the latents of a 256×256 image.

    Attributes:
        dim: C.
        depths: blocks before and after the positions are told again, with ``heads`` of attention each.
        hidden: channels within their MLP; None for ⌊8·C / 3⌋.
        head_width: channels of the flow head, with ``head_depth`` blocks.
        cross: blocks of the flow head attend to the condition beside being modulated by it.
        dropout: of the branches of the trunk, and of its attention weights.
    """

    guidance: float = 4.3
    schedule: str = "linear"
    grid: str = "two-speed"
    guided: tuple[float, float] = (0.0, 0.9)
    dim: int = 768
    depths: tuple[int, int] = (6, 6)
    heads: tuple[int, int] = (12, 12)
    hidden: int | None = None
    head_width: int = 1024
    head_depth: int = 2
    cross: bool = False
    dropout: float = 0.1


class FlowAR(Generator):
    """Next-scale prediction of continuous latents: a pass of the trunk a scale, and of the flow head a step.

    Attributes:
        scales: (height, width) of each, from 1×1 to the grid of the latents.
    """

    config_class: ClassVar[type] = FlowARConfig
    system = "flowar"
    sampling = FLOW_SAMPLING
    config: FlowARConfig
    mask: Tensor
    first_rotary: Tensor
    second_rotary: Tensor
    head_rotary: Tensor

    def __init__(self, config: FlowARConfig) -> None:
        super().__init__(config)
        self.settings_for(config.spec)
        self.spec, self.classes = config.spec, config.classes
        self.scales = halvings(config.layout[0])
        self.sizes = [height * width for height, width in self.scales]
        dim, channels, length = config.dim, config.latent_dim, layout_size(self.scales)
        self.condition = ClassEmbedding(config.classes, dim, config.class_dropout)
        self.embed = nn.Linear(channels, dim)
        self.trunk = StagedTransformer(
            dim, config.depths, config.heads, length, hidden=config.hidden, dropout=config.dropout
        )
        self.places = nn.Parameter(torch.empty(1, length, dim))
        self.head = FlowHead(channels, dim, config.head_width, config.head_depth, cross=config.cross)
        self.register_buffer("mask", block_causal_mask(self.sizes), persistent=False)
        positions = scale_positions(self.scales, _SPAN)
        sizes = [*(dim // heads for heads in config.heads), self.head.head_size]
        for name, size in zip(("first_rotary", "second_rotary", "head_rotary"), sizes, strict=True):
            self.register_buffer(name, rotary_table(positions, size), persistent=False)
        init_xavier(self)
        nn.init.normal_(self.places, std=0.02)
        nn.init.zeros_(self.head.output.weight)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_grid_of_latents(spec, cls.system)

    def targets(self, latents: Tensor) -> list[Tensor]:
        """Latents (B, N, D) at each scale, (B, n, D)."""
        finest = to_grid(latents, self.scales[-1])
        return [shrink(finest, scale) for scale in self.scales[:-1]] + [latents]

    def inputs(self, targets: list[Tensor]) -> Tensor:
        """What the trunk reads after the class: each scale, enlarged, at the size of the next one, (B, L - 1, D)."""
        coarse = zip(targets[:-1], self.scales[:-1], strict=True)
        return views([enlarge(target, scale, self.scales[-1]) for target, scale in coarse], self.scales)

    def semantics(self, targets: list[Tensor], labels: Tensor) -> Tensor:
        """The condition (B, L, C) of all tokens, each given the scales before its own and labels (B,)."""
        vector = self.condition(labels)
        x = torch.cat([vector[:, None], self.embed(self.inputs(targets).to(vector.dtype))], dim=1)
        return self.trunk(x, vector, mask=self.mask, rotary=self.rotary()) + self.places

    def rotary(self, slots: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Tables of some tokens for both stages of the trunk."""
        return self.first_rotary[slots], self.second_rotary[slots]

    def velocity(self, x: Tensor, times: Tensor, semantics: Tensor, index: int) -> Tensor:
        """Velocity (B, n, D) of noisy tokens of scale `index`, at times (B,), with their condition (B, n, C)."""
        return self.head(x, times, semantics, self.head_rotary[self._slots(index)])

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        targets = self.targets(tokens.data.float())
        semantics = self.semantics(targets, condition)
        total = torch.zeros((), device=self.device)
        for index, target in enumerate(targets):
            times = torch.rand(len(target), 1, device=self.device)
            mine = semantics[:, self._slots(index)]

            def velocity(x: Tensor, times: Tensor = times[:, 0], mine: Tensor = mine, index: int = index) -> Tensor:
                return self.velocity(x, times, mine, index)

            error = flow_loss(velocity, target, times, torch.randn_like(target)).mean()
            total = total + error * self.sizes[index] / self.sizes[-1]
        return {"flow": total}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: FlowARConfig) -> Tensor:
        assert isinstance(condition, Tensor)
        guidance, times = settings.guide(), settings.times()
        labels = torch.cat([condition, torch.full_like(condition, self.classes)]) if guidance.active else condition
        vector, caches = self.condition(labels), self.trunk.caches()

        def draw(view: Tensor | None, index: int, progress: float) -> Tensor:
            x = vector[:, None] if view is None else self.embed(guidance.double(view).to(vector.dtype))
            slots = self._slots(index)
            semantics = self.trunk(x, vector, rotary=self.rotary(slots), caches=caches) + self.places[:, slots]
            for cache in caches:
                cache.advance(self.sizes[index])

            def velocity(x: Tensor, time: float) -> Tensor:
                now = torch.full((len(x),), time, device=x.device)
                return self.velocity(x, now, semantics[: len(x)], index)

            start, weight = noise.normal(self.sizes[index], self.config.latent_dim), guidance.at(progress)
            return sample_flow(velocity, start.to(vector.dtype), times, guidance=weight, guided=settings.guided)

        def paint(latents: Tensor, index: int) -> Tensor:
            return enlarge(latents, self.scales[index], self.scales[-1])

        return next_scales(draw, paint, self.scales)[:, self._slots(-1)]

    def _slots(self, index: int) -> slice:
        """Where the tokens of a scale are among all."""
        start = sum(self.sizes[: index % len(self.sizes)])
        return slice(start, start + self.sizes[index])
