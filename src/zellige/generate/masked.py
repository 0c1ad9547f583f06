"""Masked generation (MaskGIT, Chang et al., arXiv 2202.04200): guess all tokens at once, keep the surest, guess again.

    all masked ─► logits ─► sample every masked position ─► mask the least confident again ─► … ─► no mask left

How many stay masked follows a schedule of the share of the steps that is done. Legend: B samples, L positions,
K codes; with guidance the network sees 2B rows, the conditional ones first.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError, nearest
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.tokens import TokenSpec, layout_size
from zellige.generate.config import SAMPLING, GeneratorConfig, one_block_of_codes
from zellige.generate.guidance import Guidance
from zellige.generate.sampling import Sampler

Predict = Callable[[Tensor, Tensor], Tensor]
Conditioned = Callable[[Tensor, Tensor, Tensor], Tensor]
"""As `Predict`, with labels (2B or B,) as its third argument."""

SCHEDULES = ("cosine", "arccos", "linear", "log", "exp")
"""Besides these there are powers, ``pow2``, ``pow0.5``, …"""

CONFIDENCES = ("probability", "logit")

MASKED_SAMPLING = (*SAMPLING, "steps", "masking", "choice_temperature")
"""The fields of `MaskedConfig` that a call of `Generator.sample` may replace."""


def masked_share(done: Tensor, schedule: str, length: int) -> Tensor:
    """Which share of the positions is masked once `done`, from 0 to 1, is over: from 1 falling to 10⁻⁶.

    Args:
        done: any shape.
        schedule: ``cosine`` cos(πr/2), ``arccos`` 2/π · arccos r, ``linear`` 1 - r, ``powE`` 1 - r^E,
            ``log`` -log₂ r / log₂ L, ``exp`` 1 - L^(r - 1).
        length: L.

    Raises `UsageError` for another schedule.
    """
    if power := re.fullmatch(r"pow(\d+(?:\.\d+)?)", schedule):
        share = 1 - done ** float(power[1])
    elif schedule == "cosine":
        share = torch.cos(done * math.pi / 2)
    elif schedule == "arccos":
        share = torch.acos(done) / (math.pi / 2)
    elif schedule == "linear":
        share = 1 - done
    elif schedule == "log":
        share = -torch.log2(done) / math.log2(max(length, 2))
    elif schedule == "exp":
        share = 1 - 2 ** (math.log2(max(length, 2)) * (done - 1))
    else:
        raise nearest(schedule, [*SCHEDULES, "pow2"], "masking schedule")
    return share.clamp(1e-6, 1.0)


def random_masks(counts: Tensor, length: int) -> Tensor:
    """Bool (B, L) with `counts` (B,) positions of each sample drawn at random."""
    return torch.rand(len(counts), length, device=counts.device).argsort(1).argsort(1) < counts[:, None]


def masked_cross_entropy(
    logits: Tensor, ids: Tensor, weights: Tensor, *, smoothing: float = 0.0, each: bool = False
) -> Tensor:
    """Mean cross-entropy of logits (B, L, K) and ids (B, L), weighted by `weights` (B, L).

    Args:
        weights: bool or float; a mask counts masked positions alone.
        smoothing: share of the target that is spread over all codes.
        each: the mean over positions of each sample, then over samples, so that all samples count the same.
    """
    losses = F.cross_entropy(logits.float().transpose(1, 2), ids, reduction="none", label_smoothing=smoothing)
    weights = weights.to(losses.dtype)
    if each:
        return ((losses * weights).sum(1) / weights.sum(1).clamp(min=1e-8)).mean()
    return (losses * weights).sum() / weights.sum().clamp(min=1e-8)


@dataclass(frozen=True)
class Unmasking:
    """Which positions a step leaves masked.

    Attributes:
        steps: passes of the network, from 1 up.
        schedule: of the masks, see `masked_share`.
        choice_temperature: Gumbel noise on the confidence, times the share of the steps that are left; 0 for none.
        confidence: log-``probability`` of the id that was drawn, or its ``logit``.
        annealed: the temperature of sampling too is multiplied by the share of the steps that are left, down to
            ``coldest``.
        spread: logits are divided by the first number plus the second times the share of the steps that are left.
        progress: whether each step but the last finishes at least one position, and leaves at least one.
        dtype: in which the schedule is computed; float32 takes the cosine of 60° for a bit less than ½.

    Raises `UsageError` for values out of range.
    """

    steps: int
    schedule: str = "cosine"
    choice_temperature: float = 0.0
    confidence: str = "probability"
    annealed: bool = False
    coldest: float = 0.0
    spread: tuple[float, float] = (1.0, 0.0)
    progress: bool = True
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps is the number of passes, from 1 up; got {self.steps}")
        if not 0 <= self.choice_temperature < math.inf:
            raise UsageError(f"choice_temperature is a number from 0 up; got {self.choice_temperature}")
        if self.confidence not in CONFIDENCES:
            raise nearest(self.confidence, list(CONFIDENCES), "confidence")
        masked_share(torch.ones(()), self.schedule, 1)

    def left(self, step: int) -> float:
        """Share of the steps that follow `step`, which counts from 0."""
        return 1 - (step + 1) / self.steps

    def temperature(self, given: float, step: int) -> float:
        """Of sampling; 0 stays 0."""
        return max(given * self.left(step), self.coldest) if self.annealed and given else given

    def counts(self, step: int, first: Tensor, now: Tensor) -> Tensor:
        """How many positions stay masked after a step, of `first` (B,) that were at the start and `now` that are."""
        done = torch.tensor(step + 1, dtype=self.dtype) / self.steps
        shares = torch.stack([masked_share(done, self.schedule, int(n)) for n in first]).to(first.device)
        counts = (first * shares).floor().long()
        return torch.minimum(counts, now - 1).clamp(min=1) if self.progress else counts

    def scores(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Confidence (B, L) in ids (B, L) that logits (B, L, K) gave."""
        values = logits.log_softmax(-1) if self.confidence == "probability" else logits
        return values.gather(-1, ids[..., None]).squeeze(-1)


def unmask(
    predict: Predict,
    ids: Tensor,
    masked: Tensor,
    plan: Unmasking,
    guidance: Guidance,
    sampler: Sampler,
    noise: Noise,
    *,
    start: int = 0,
) -> Tensor:
    """Fill the masked positions of ids (B, L); the others stay as they are.

    Args:
        predict: ids and masks (2B or B, L) to logits (2B or B, L, K); an id means nothing where there is a mask.
        ids: to begin with.
        masked: bool (B, L).
        plan: what stays masked.
        guidance: combines the halves; its progress at step i is i / steps.
        sampler: draws ids, at the temperature of the plan.
        noise: of the B samples.
        start: the first step, for positions that are known at the start.
    """
    first = masked.sum(1)
    for step in range(start, plan.steps):
        logits = guidance.combine(predict(guidance.double(ids), guidance.double(masked)), step / plan.steps).float()
        logits = logits / (plan.spread[0] + plan.spread[1] * plan.left(step))
        choose = replace(sampler, temperature=plan.temperature(sampler.temperature, step))
        ids = torch.where(masked, choose(logits, noise), ids)
        if step + 1 == plan.steps:
            break
        scores = plan.scores(logits, ids) + plan.choice_temperature * plan.left(step) * noise.gumbel(ids.shape[1])
        ranks = scores.masked_fill(~masked, torch.inf).argsort(dim=1, stable=True).argsort(1)
        masked = masked & (ranks < plan.counts(step, first, masked.sum(1))[:, None])
        if not masked.any():
            break
    return ids


@dataclass(frozen=True)
class MaskedConfig(GeneratorConfig):
    """What masked generators have in common beyond `GeneratorConfig`.

    Attributes:
        steps: passes of the network when sampling.
        masking: schedule of the masks, see `masked_share`.
        choice_temperature: noise on the confidence, see `Unmasking`.
        label_smoothing: share of the targets of training that is spread over all codes.
    """

    steps: int = 8
    masking: str = "cosine"
    choice_temperature: float = 4.5
    label_smoothing: float = 0.1

    def unmasking(self) -> Unmasking:
        """The plan of these settings."""
        return Unmasking(self.steps, self.masking, self.choice_temperature)


def sample_masked(
    predict: Conditioned,
    labels: Tensor,
    null: int,
    length: int,
    settings: MaskedConfig,
    noise: Noise,
) -> Tensor:
    """Ids (B, L) of the conditions `labels` (B,), from masks alone.

    Args:
        predict: as in `unmask`, and the labels.
        null: the label of no condition.
        length: L.
        settings: those of the call.
        noise: of the B samples.
    """
    guidance = settings.guide()
    if guidance.active:
        labels = torch.cat([labels, torch.full_like(labels, null)])
    ids = torch.zeros(len(noise), length, dtype=torch.long, device=labels.device)
    everywhere = torch.ones_like(ids, dtype=torch.bool)

    def conditioned(ids: Tensor, masked: Tensor) -> Tensor:
        return predict(ids, masked, labels)

    return unmask(conditioned, ids, everywhere, settings.unmasking(), guidance, settings.sampler(), noise)


class MaskedGenerator(Generator):
    """A generator of one block of codes from class labels, which it samples by unmasking.

    Attributes:
        length: L.
        codes: K.
    """

    sampling: ClassVar[tuple[str, ...]] = MASKED_SAMPLING
    config: MaskedConfig

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__(config)
        self.settings_for(config.spec)
        self.spec, self.classes = config.spec, config.classes
        self.length, self.codes = layout_size(config.layout), config.codebook[0]

    @classmethod
    def settings_for(cls, spec: TokenSpec) -> dict[str, Any]:
        return one_block_of_codes(spec, cls.system)

    @abstractmethod
    def predictor(self) -> Conditioned:
        """The network for the steps of one call of `sample`; `labels` is ``classes`` for no condition."""

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: MaskedConfig) -> Tensor:
        assert isinstance(condition, Tensor)
        return sample_masked(self.predictor(), condition, self.classes, self.length, settings, noise)
