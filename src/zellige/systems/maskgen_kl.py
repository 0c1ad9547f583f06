"""MaskGen-KL (Kim et al., arXiv 2501.07730): text to the continuous latents of TA-TiTok, in random order.

    features of the text ─ project ────────────────────┐
    latents, seen or masked ─ project, norm + position ─┴─ joint attention (MM-DiT) ─ norm + position ─► z of each
    pooled text, aesthetic score ─ project ─ modulates ┘
    noisy latent, step, z ─ DiffusionHead ─ noise and variance

As in MAR (arXiv 2406.11838) what a masked latent may be is a diffusion of its own, given what the transformer says of
its place. Texts are those of `maskgen`. Legend: B samples, T text tokens, L latents, D their channels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError
from zellige.core.noise import Noise
from zellige.core.tokens import Layout, Tokens, TokenSpec, layout_size
from zellige.generate.config import SAMPLING
from zellige.generate.diffusion import STEPS, diffusion_loss, sample_diffusion
from zellige.generate.masked import Unmasking, masked_share, random_masks
from zellige.generate.texts import TextConfig, TextGenerator
from zellige.nn.diffusion_head import DiffusionHead
from zellige.nn.joint import JointTransformer
from zellige.nn.modulation import AdaptiveNorm, init_xavier
from zellige.nn.time import time_waves


@dataclass(frozen=True)
class MaskGenKLConfig(TextConfig):
    """MaskGen-KL L on the 32 latents of TA-TiTok BL-32.

    Attributes:
        latent_dim: D.
        latent_scale: latents are multiplied by it, so that they vary by about 1.
        steps: passes of the transformer when sampling; how many latents stay masked follows ``masking``.
        diffusion_steps: passes of the head for each latent.
        clip: the largest scaled latent that these passes may expect, 0 for any, as in the released code. Models that
            have not been trained for long need it.
        dim: C.
        depth: blocks, with ``heads`` of attention and ``hidden`` channels in their MLPs.
        head_width, head_depth: channels and residual MLPs of the head.
        repeats: noisy versions of each latent that a training step learns from.
    """

    layout: Layout = ((32,),)
    codebook: tuple[int, ...] = ()
    guidance: float = 3.0
    schedule: str = "linear"
    latent_dim: int = 16
    latent_scale: float = 0.7525
    steps: int = 32
    masking: str = "cosine"
    diffusion_steps: int = 100
    clip: float = 0.0
    dim: int = 1024
    depth: int = 16
    heads: int = 16
    hidden: int = 4096
    head_width: int = 1024
    head_depth: int = 8
    repeats: int = 4

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(self.layout, (), self.latent_dim)


class MaskGenKL(TextGenerator):
    """Masked latents from those that are seen and from a text; one order of a sample decides which come first."""

    config_class: ClassVar[type] = MaskGenKLConfig
    system = "maskgen-kl"
    sampling = (*SAMPLING[:-2], "steps", "masking", "diffusion_steps", "clip", "score")  # nothing to choose the top of
    config: MaskGenKLConfig

    def __init__(self, config: MaskGenKLConfig) -> None:
        super().__init__(config)
        self.settings_for(config.spec)
        self.spec, self.length = config.spec, layout_size(config.layout)
        dim = config.dim
        self.embed = nn.Linear(config.latent_dim, dim)
        self.embed_norm = nn.LayerNorm(dim, eps=1e-6)
        self.mask = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, self.length, dim))
        self.text_in = nn.Linear(config.text_dim, dim)
        self.condition = nn.Linear(config.text_dim + config.score_waves, dim)
        self.trunk = JointTransformer(dim, config.depth, config.heads, config.hidden)
        self.norm = AdaptiveNorm(dim)
        self.head_positions = nn.Parameter(torch.empty(1, self.length, dim))
        self.head = DiffusionHead(config.latent_dim, dim, config.head_width, config.head_depth, 2 * config.latent_dim)
        init_xavier(self)
        self.head.reset_parameters()
        for learned in (self.mask, self.positions, self.head_positions):
            nn.init.normal_(learned, std=0.02)

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        if spec.codebook:
            raise UsageError(
                f"{cls.system} models continuous latents, and {spec} are codes: "
                "use a tokenizer such as kl-vae, or maskgen in its place"
            )
        if len(spec.layout) != 1:
            raise UsageError(
                f"{cls.system} models latents in one block; these are {spec}: use a tokenizer such as kl-vae"
            )
        return {"layout": spec.layout, "codebook": (), "latent_dim": spec.dim, "tokenizer": "", "fingerprint": ""}

    def vectors(self, latents: Tensor, masked: Tensor, text: TextFeatures) -> Tensor:
        """What each latent may be, (B, L, C), given scaled latents (B, L, D) where there is no mask, and texts."""
        assert text.pooled is not None
        dtype = self.positions.dtype
        vector = text.pooled.to(dtype)
        if waves := self.config.score_waves:
            cosines, sines = time_waves(100 * self.scores(text).float(), waves).chunk(2, dim=-1)
            vector = torch.cat([vector, torch.stack([sines, cosines], dim=-1).flatten(-2).to(dtype)], dim=-1)
        condition = self.condition(vector)
        seen = self.embed_norm(self.embed(latents.to(dtype)))
        x = torch.where(masked[..., None], self.mask, seen) + self.positions
        x = self.trunk(x, self.text_in(text.features.to(dtype)), condition, text.mask)
        return self.norm(x, condition) + self.head_positions

    def masks(self, done: Tensor, count: int) -> Tensor:
        """The masks of training, bool (B, L) of `count` samples, as many in each for one `done` of the schedule."""
        share = masked_share(done, "arccos", self.length)
        return random_masks((self.length * share).ceil().expand(count), self.length)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        latents = self.config.latent_scale * tokens.data
        text = self.learned_from(condition, len(latents))
        masked = self.masks(torch.rand((), device=self.device), len(latents))
        vectors = self.vectors(latents, masked, text)
        data = latents[masked].float().repeat(self.config.repeats, 1)[None]
        given = vectors[masked].repeat(self.config.repeats, 1)[None]
        steps = torch.randint(STEPS, data.shape[:2], device=self.device)
        loss = diffusion_loss(partial(self.head, condition=given), data, steps, torch.randn_like(data))
        return {"diffusion": loss.mean()}

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: MaskGenKLConfig) -> Tensor:
        guidance, plan = settings.guide(), Unmasking(settings.steps, settings.masking)
        temperature, count = settings.sampler().temperature, len(noise)
        text = self.drawn_from(condition, count, settings.score, twice=guidance.active)
        order = noise.uniform(self.length).argsort(1).argsort(1)
        latents = torch.zeros(count, self.length, settings.latent_dim, device=self.device)
        first = torch.full((count,), self.length, device=self.device)
        left = self.length
        for step in range(settings.steps):
            masked = order < left
            vectors = self.vectors(guidance.double(latents), guidance.double(masked), text)
            stay = int(plan.counts(step, first, torch.full_like(first, left))[0])
            stay = 0 if step + 1 == settings.steps else stay
            if stay == left:
                continue
            now = masked & (order >= stay)
            given = vectors[guidance.double(now)].unflatten(0, (len(vectors), left - stay))
            weight = guidance.at(1 - max(stay, 1) / self.length) if guidance.active else 1.0
            given = given if weight != 1 else given[:count]
            drawn = sample_diffusion(
                partial(self.head, condition=given),
                noise.normal(left - stay, settings.latent_dim),
                settings.diffusion_steps,
                noise,
                guidance=weight,
                temperature=temperature,
                clip=settings.clip,
            )
            latents[now] = drawn.flatten(0, 1)
            left = stay
        return latents / settings.latent_scale
