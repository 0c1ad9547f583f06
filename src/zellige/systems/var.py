"""VAR, visual autoregressive modelling by next-scale prediction (Tian et al., arXiv 2404.02905).

    class ─ start ────────────────────┐
    f̂_1 … f̂_{K-1}, each averaged      ├─ + level + position ─ transformer, modulated by the class,
    down to the scale after it ─ embed ┘   sees its own scale and those before ─ head ─ x_1 … x_K

The tokens of a scale are predicted at once, from the image f̂ that the scales before it tell. So the generator holds
what its tokenizer looks tokens up with (codebook and blends, which it never trains): `adopt` takes it over.
Legend: B samples, K scales, n tokens of a scale, L of all, V codes of D dimensions, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import Layout, Tokens, TokenSpec, layout_size
from zellige.generate.config import SAMPLING, GeneratorConfig
from zellige.generate.scales import next_scales, views
from zellige.nn.attention import block_causal_mask
from zellige.nn.conv import to_grid
from zellige.nn.modulation import AdaptiveNorm, ClassEmbedding, Modulation, SharedModulation, init_normal
from zellige.nn.positions import level_table
from zellige.nn.transformer import Transformer, TransformerConfig
from zellige.quantize.multiscale import MultiScaleResidualQuantizer
from zellige.systems.var_vq import SCALES


@dataclass(frozen=True)
class VARConfig(GeneratorConfig):
    """VAR-d16 on the ten scales of a 256×256 image.

    Attributes:
        dim: C.
        depth: blocks, with ``heads`` of attention.
        qk_norm: of queries and keys, see `Attention`.
        shared_modulation: one modulation for all blocks, with an offset for each.
        code_dim: D.
        quantizer_settings: of the tokenizer's `MultiScaleResidualQuantizer` beyond codes and scales.
    """

    layout: Layout = tuple((side, side) for side in SCALES)
    codebook: tuple[int, ...] = (4096,)
    guidance: float = 2.5
    schedule: str = "linear"
    top_k: int = 900
    top_p: float = 0.96
    dim: int = 1024
    depth: int = 16
    heads: int = 16
    qk_norm: str = "cosine"
    shared_modulation: bool = False
    code_dim: int = 32
    quantizer_settings: Mapping[str, Any] = field(default_factory=lambda: {"blends": 4})


class VAR(Generator):
    """Next-scale prediction over the tokens of a multi-scale residual quantizer: K passes an image.

    Attributes:
        quantizer: the tokenizer's; buffers, no parameters. Random in a new model, zero where an official file lacks it.
    """

    config_class: ClassVar[type] = VARConfig
    system = "var"
    sampling = SAMPLING
    config: VARConfig
    mask: Tensor

    def __init__(self, config: VARConfig) -> None:
        super().__init__(config)
        self.settings_for(config.spec)
        self.spec, self.classes = config.spec, config.classes
        dim, self.sizes = config.dim, [height * width for height, width in config.layout]
        codes, length, first = config.codebook[0], layout_size(config.layout), self.sizes[0]
        self.quantizer = _frozen(
            MultiScaleResidualQuantizer(config.code_dim, codes, scales=config.layout, **dict(config.quantizer_settings))
        )
        self.embed = nn.Linear(config.code_dim, dim)
        self.condition = ClassEmbedding(config.classes, dim, config.class_dropout)
        self.start = nn.Parameter(torch.empty(1, first, dim))
        self.positions = nn.Parameter(torch.empty(1, length, dim))
        self.levels = level_table(len(config.layout), dim)
        self.modulation = Modulation(dim, 6) if config.shared_modulation else None
        self.transformer = Transformer(
            TransformerConfig(
                dim,
                config.depth,
                config.heads,
                affine=False,
                qkv_bias="qv",
                qk_norm=config.qk_norm,
                activation="gelu-tanh",
                adaptive=True,
            ),
            (lambda: SharedModulation(dim, 6)) if config.shared_modulation else None,
        )
        self.norm = AdaptiveNorm(dim)
        self.head = nn.Linear(dim, codes)
        self.register_buffer("mask", block_causal_mask(self.sizes), persistent=False)
        self._initialize()

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if not spec.codebook:
            raise UsageError(f"{cls.system} predicts codes, and {spec} have none: use flowar")
        finer = zip(spec.layout, spec.layout[1:], strict=False)
        if len(spec.layout) < 2 or any(len(b) != 2 for b in spec.layout) or any(a > b for a, b in finer):
            raise UsageError(
                f"{cls.system} predicts maps from coarse to fine, and {spec} are none: use a tokenizer over scales, "
                "such as var-vq, or llamagen, rar"
            )
        if len(spec.codebook) > 1:
            raise UsageError(f"{cls.system} predicts one code at each position; these are {spec}")
        return {"layout": spec.layout, "codebook": spec.codebook, "tokenizer": "", "fingerprint": ""}

    @classmethod
    def settings_from(cls, tokenizer: Tokenizer) -> dict[str, Any]:
        quantizer = _scales_of(tokenizer)
        names = ("search", "blend_ratio")
        settings = {name: getattr(quantizer, name) for name in names} | {"blends": len(quantizer.blends)}
        return {"code_dim": quantizer.dim, "quantizer_settings": settings}

    def adopt(self, tokenizer: Tokenizer) -> None:
        theirs, ours = _scales_of(tokenizer).state_dict(), self.quantizer.state_dict()
        shapes = [{key: tuple(value.shape) for key, value in state.items()} for state in (theirs, ours)]
        if shapes[0] != shapes[1] or _scales_of(tokenizer).scales != self.quantizer.scales:
            raise UsageError(
                f"{self.name} reads tokens by other codes than those of {tokenizer.name}: "
                "build it with zellige.build(…, for_tokens=…, tokenizer=…)"
            )
        self.quantizer.load_state_dict(theirs)

    def logits(self, ids: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, L, V) of ids (B, L), each given the scales before its own, and labels (B,)."""
        with torch.no_grad():
            canvases = [to_grid(total, self.config.layout[-1]) for total in self._codes().partial_sums(ids)[:-1]]
        vector = self.condition(labels)
        x = torch.cat([self._start(vector), self._embed(views(canvases, self.config.layout))], dim=1)
        return self._predict(x + self._places(slice(None)), vector, mask=self.mask)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        logits = self.logits(tokens.data, condition)
        return {"cross_entropy": F.cross_entropy(logits.flatten(0, 1).float(), tokens.data.flatten())}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: VARConfig) -> Tensor:
        assert isinstance(condition, Tensor)
        guidance, choose, quantizer = settings.guide(), settings.sampler(), self._codes()
        labels = torch.cat([condition, torch.full_like(condition, self.classes)]) if guidance.active else condition
        vector = self.condition(labels)
        cache = self.transformer.cache(layout_size(self.config.layout))
        canvas = torch.zeros(())

        def draw(view: Tensor | None, index: int, progress: float) -> Tensor:
            x = self._start(vector) if view is None else self._embed(guidance.double(view))
            x = x + self._places(slice(cache.length, cache.length + self.sizes[index]))
            logits = self._predict(x, vector, cache=cache)
            cache.advance(self.sizes[index])
            return choose(guidance.combine(logits, progress), noise)

        def paint(ids: Tensor, index: int) -> Tensor:
            nonlocal canvas
            canvas = canvas + quantizer.contribution(ids, index)
            return canvas

        return next_scales(draw, paint, self.config.layout)

    def _codes(self) -> MultiScaleResidualQuantizer:
        if not any(value.any() for value in self.quantizer.state_dict().values()):
            raise UsageError(
                f"{self.name} came without the codes of its tokenizer: give them by adopt(tokenizer)"
                + (f", the tokenizer being {self.config.tokenizer}" if self.config.tokenizer else "")
            )
        return self.quantizer

    def _start(self, vector: Tensor) -> Tensor:
        return vector[:, None] + self.start

    def _embed(self, view: Tensor) -> Tensor:
        return self.embed(view.to(self.embed.weight.dtype))

    def _places(self, slots: slice) -> Tensor:
        """Level and position of tokens, (1, n, C)."""
        level = torch.cat([row.expand(size, -1) for row, size in zip(self.levels.weight, self.sizes, strict=True)])
        return (level + self.positions)[:, slots]

    def _predict(self, x: Tensor, vector: Tensor, **where: Any) -> Tensor:
        condition = vector if self.modulation is None else torch.cat(self.modulation(vector), dim=-1)
        return self.head(self.norm(self.transformer(x, condition, **where), vector))

    def _initialize(self) -> None:
        """Linear layers and tables as the released models start; modulations at zero, so that blocks do nothing yet."""
        std = (1 / self.config.dim / 3) ** 0.5
        init_normal(self, std, truncated=True)
        for table in (self.start, self.positions):
            nn.init.trunc_normal_(table, std=std)
        with torch.no_grad():
            self.head.weight.mul_(0.02)
            for name, weight in self.transformer.named_parameters():
                if name.endswith(("attention.out.weight", "mlp.down.weight")):
                    weight.div_((2 * self.config.depth) ** 0.5)


def _scales_of(tokenizer: Tokenizer) -> MultiScaleResidualQuantizer:
    quantizer = getattr(tokenizer, "quantizer", None)
    if not isinstance(quantizer, MultiScaleResidualQuantizer):
        raise UsageError(f"var reads tokens by a quantizer over scales, which {tokenizer.name} has not; use var-vq")
    return quantizer


def _frozen(quantizer: MultiScaleResidualQuantizer) -> MultiScaleResidualQuantizer:
    """The same with buffers in place of its parameters: a part of the weights that nothing trains or counts."""
    for part in quantizer.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    return quantizer
