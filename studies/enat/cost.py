"""Floating-point operations of masked generators: products of matrices, those of attention included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from zellige.core.noise import Noise
from zellige.core.tokens import Tokens
from zellige.generate.masked import Conditioned, MaskedGenerator, sample_masked
from zellige.systems.enat import ENAT

STEPS = 8
"""Of the generation of one image, which is unguided."""


@dataclass(frozen=True)
class GenerationCost:
    """Operations of one image.

    Attributes:
        total: with features reused where the generator does that; ``anew`` where it encodes all in every step.
        encoder: share of `total` for tokens that are seen, the projection of their features included;
            ``encoder_anew`` of `anew`. 0 for a generator without encoder.
    """

    total: int
    anew: int
    encoder: int
    encoder_anew: int

    @property
    def saved(self) -> float:
        """Share of the encoder's operations that reuse saves."""
        return 1 - self.encoder / self.encoder_anew if self.encoder_anew else 0.0


def operations(job: Callable[[], object], parts: Iterable[nn.Module] = ()) -> tuple[int, int]:
    """Of a job, and of the calls of `parts` in it."""
    counter, inside, hooks = FlopCounterMode(display=False), [0], []
    for part in parts:

        def enter(*_: object) -> None:
            inside[0] -= counter.get_total_flops()

        def leave(*_: object) -> None:
            inside[0] += counter.get_total_flops()

        hooks += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        with counter, sdpa_kernel(SDPBackend.MATH):  # fused kernels are not counted on a CPU
            job()
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops(), inside[0]


def training_cost(model: MaskedGenerator, steps: int) -> float:
    """Of one sample in a training step, forward and backward: the mean over `steps` draws of masks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)

        def train() -> None:
            for _ in range(steps):
                tokens = Tokens(torch.zeros(1, model.length, dtype=torch.long), model.spec.layout, model.spec.codebook)
                torch.stack(list(model.train().loss(tokens, [0]).values())).sum().backward()

        total, _ = operations(train)
    model.zero_grad(set_to_none=True)
    return total / steps


def generation_cost(model: MaskedGenerator) -> GenerationCost:
    """Of one image in `STEPS` steps."""
    model.eval()
    parts = [*model.encoder, model.reuse_mlp] if isinstance(model, ENAT) else []
    total, encoder = operations(lambda: draw(model, model.predictor()), parts)
    anew, encoder_anew = operations(lambda: draw(model, encoding_anew(model)), parts)
    return GenerationCost(total, anew, encoder, encoder_anew)


def encoding_anew(model: MaskedGenerator) -> Conditioned:
    """The network of a generator, with nothing kept from one step to the next."""

    def predict(ids: Tensor, masked: Tensor, labels: Tensor) -> Tensor:
        return model.predictor()(ids, masked, labels)

    return predict


@torch.inference_mode()
def draw(model: MaskedGenerator, predict: Conditioned) -> Tensor:
    """Ids (1, L) of one image."""
    settings = model.settings({"steps": STEPS, "guidance": 1.0})
    return sample_masked(predict, torch.tensor([0]), model.classes, model.length, settings, Noise([0], model.device))
