"""The adversarial side of a run: a discriminator, its optimizer, and when they count.

Legend: B samples, S pixels a side.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from zellige.losses.adversary import ramp
from zellige.losses.balance import adaptive_weight
from zellige.train.agree import any_rank
from zellige.train.objective import make_adversary
from zellige.train.optim import learning_rate, make_optimizer, set_rate, synced
from zellige.train.recipe import Adversarial


class Critic:
    """Judges reconstructions, and learns from them after each step of the tokenizer.

    Args:
        settings: of the recipe.
        steps: of the whole run, where its learning rate ends.
        accelerator: of the run.
    """

    def __init__(self, settings: Adversarial, steps: int, accelerator: Accelerator) -> None:
        self.settings, self.steps, self.accelerator = settings, steps, accelerator
        made = make_adversary(settings)
        self.adversary = made.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer: torch.optim.Optimizer = make_optimizer(self.adversary.parameters(), settings.optimizer)
        self.wrapped: nn.Module = self.adversary

    def prepare(self) -> None:
        """Wrap module and optimizer for the processes and the precision of the run, once they are restored."""
        self.wrapped, self.optimizer = self.accelerator.prepare(self.adversary, self.optimizer)

    def share(self, step: int) -> float:
        """The weight of the adversarial loss at `step`; before it is above zero, nothing is learned either."""
        return self.settings.weight * ramp(step, self.settings.start, self.settings.ramp)

    def judge(self, output: Tensor, reconstruction: Tensor, last_layer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The adversarial loss of a reconstruction, but for the share; and what to log.

        Args:
            output: reconstructions (B, 3, S, S) in [-1, 1].
            reconstruction: pixel and perceptual terms, a scalar.
            last_layer: the weight at which gradients are compared.
        """
        with self.accelerator.autocast():
            loss = self.adversary.judge(output)
        if not self.settings.adaptive:
            return loss, {}
        weight = adaptive_weight(reconstruction, loss, last_layer)
        return weight * loss, {"adaptive_weight": weight}

    def take_step(self, step: int, pairs: list[tuple[Tensor, Tensor]]) -> tuple[dict[str, Tensor], bool]:
        """One step of the discriminator on originals and reconstructions, (B, 3, S, S) each.

        Returns:
            What to log, and whether loss and gradient were finite on all processes: if not, no weight changed.
        """
        begun, settings = step - self.settings.start, self.settings.optimizer
        set_rate(self.optimizer, learning_rate(begun, self.steps - self.settings.start, settings))
        values: dict[str, Tensor] = {}
        for real, fake in synced(self.accelerator, self.wrapped, pairs):
            terms = self.wrapped(real, fake)
            loss = terms["discriminator"] + terms.get("lecam", 0.0)
            self.accelerator.backward(loss / len(pairs))
            for key, value in terms.items():
                values[key] = values.get(key, 0.0) + value.detach() / len(pairs)
        norm = self.accelerator.clip_grad_norm_(self.adversary.parameters(), settings.clip)
        finite = not any_rank(not bool(torch.isfinite(norm)), norm.device)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return values | {"discriminator_grad_norm": norm}, finite
