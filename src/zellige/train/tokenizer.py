"""The tokenizer loop: every tokenizer of the library is trained here.

Each step draws its crops, reconstructs them, adds pixel, perceptual and adversarial terms and the
tokenizer's own losses, and takes one AdamW step; then the discriminator, if there is one, takes its own.

Legend: B samples, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.hub import load
from zellige.core.registry import build
from zellige.data import TrainStream, open_images
from zellige.data.transforms import RandomScaleCrop
from zellige.latent.technique import Trained
from zellige.losses.pixel import pixel_loss
from zellige.train.backbone import start_from_backbone
from zellige.train.critic import Critic
from zellige.train.objective import make_perceptual
from zellige.train.optim import copy_statistics, make_optimizer, restore_statistics
from zellige.train.recipe import Recipe
from zellige.train.run import TrainingRun
from zellige.train.samples import COLUMNS, save_samples
from zellige.train.teacher import make_teacher
from zellige.train.techniques import make_techniques


def train_tokenizer(
    recipe: Recipe,
    output: str | Path,
    *,
    resume: bool = False,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train a tokenizer; returns the path of the saved model (averaged weights).

    Args:
        recipe: what to train, on what, and how long.
        output: folder for `model.safetensors`, `checkpoint.safetensors`, `log.jsonl`, `curves.svg`, `samples`
            and `recipe.json`.
        resume: go on from the checkpoint in `output`.
        on_log: called with each line of the log.

    Raises:
        UsageError: `output` holds another run and `resume` is not set, or nothing to resume; weights of a
            perceptual network are missing.
        ZelligeError: the loss stays non-finite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is done and a checkpoint is written.
    """
    return TokenizerRun(recipe, Path(output), resume).train(on_log)


class TokenizerRun(TrainingRun[Recipe, Tokenizer, Tensor]):
    """A run of this loop: the tokenizer, its techniques, its judges."""

    def __init__(self, recipe: Recipe, output: Path, resume: bool) -> None:
        super().__init__(recipe, output, resume)
        tokenizer = start_tokenizer(recipe)
        _check_crop(recipe.data.crop, tokenizer)
        self.system = tokenizer.to(self.accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = make_teacher(recipe.loss.teacher, self.system)
        if self.teacher:
            self.teacher.to(self.accelerator.device)
        if recipe.trains == "decoder":
            self.system.freeze_codes()
        self.techniques = make_techniques(recipe, self.system)
        model: nn.Module = self.system
        if self.techniques:
            model = Trained(self.system, self.techniques.to(self.accelerator.device))
        optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], recipe.optimizer)
        self.perceptual, self.critic = self._judges()
        self.stream = TrainStream(
            open_images(recipe.data.train),
            RandomScaleCrop(recipe.data.crop, recipe.data.scale, recipe.data.flip),
            recipe.batch_size,
            seed=recipe.seed,
            crops_per_image=recipe.data.crops_per_image,
            min_side=recipe.data.min_side,
            area=recipe.data.area,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        self.pairs: list[tuple[Tensor, Tensor]] = []  # crops and reconstructions of the step, for the critic
        self._begin(model, optimizer)
        if self.critic:
            self.critic.prepare()

    def prepare_step(self) -> None:
        if self.techniques:
            self.techniques.progress = self.step / self.recipe.steps
        self.pairs = []

    def take_step(self, items: list[Tensor]) -> tuple[dict[str, Tensor], bool]:
        """As of `TrainingRun`, on batches of crops (B, 3, S, S); then the discriminator takes its step.

        It waits if the step of the tokenizer was not finite.
        """
        if not self.critic:
            return super().take_step(items)
        before, step = copy_statistics(self.critic.adversary), self.step
        values, finite = super().take_step(items)
        if self.critic.share(step) and finite:
            found, finite = self.critic.take_step(step, self.pairs)
            values |= found
        if not finite:
            restore_statistics(self.critic.adversary, before)
        return values, finite

    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of crops (B, 3, S, S), and what to log."""
        settings, x = self.recipe.loss, batch.to(self.accelerator.device, memory_format=torch.channels_last)
        share = self.critic.share(self.step) if self.critic else 0.0
        with self.accelerator.autocast():
            result = self.model(x)
        terms, stats = pixel_loss(result.output, x, settings.pixel), dict(result.stats)
        if self.perceptual:
            terms["perceptual"] = settings.perceptual.weight * self.perceptual(result.output, x)
        if self.teacher:
            assert result.scores is not None
            nats, stats["teacher_accuracy"] = self.teacher(result.scores, x)
            terms["teacher"] = settings.teacher.weight * nats
        if share and self.critic:
            reconstruction = torch.stack(list(terms.values())).sum()
            judged, found = self.critic.judge(result.output, reconstruction, self.system.last_layer())
            terms["adversarial"] = share * judged
            stats |= found
        terms |= result.losses
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.pairs.append((x, result.output.detach()))
        return loss, {**terms, "loss": loss, **stats}

    @torch.no_grad()
    def sample(self, batch: Tensor) -> None:
        """Write a picture of crops (B, 3, S, S) and of what the averaged weights make of them."""
        x = batch[:COLUMNS].to(self.accelerator.device, memory_format=torch.channels_last)
        self.drawn.eval()
        result = functional_call(self.drawn, self._whole_average(), (x,))  # by all: some systems sum over processes
        self.drawn.train()
        if self.accelerator.is_main_process:
            save_samples(self.output / "samples", self.step, x, result.output)

    def _judges(self) -> tuple[nn.Module | None, Critic | None]:
        """The perceptual loss and the critic, where the recipe gives them a weight."""
        wanted, perceptual, critic = self.recipe.loss, None, None
        if wanted.perceptual.weight:
            perceptual = make_perceptual(wanted.perceptual).to(self.accelerator.device)
        if wanted.adversarial.weight:
            if wanted.adversarial.adaptive:
                self.system.last_layer()  # some systems have none: said now, not when it is needed
            critic = Critic(wanted.adversarial, self.recipe.steps, self.accelerator)
        return perceptual, critic

    def _stepped(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"model": self.system}
        if self.techniques and self.techniques.state_dict():  # most have nothing to keep
            modules["techniques"] = self.techniques
        return modules

    def _modules(self) -> dict[str, nn.Module]:
        return self._stepped() | ({"adversary": self.critic.adversary} if self.critic else {})

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return super()._optimizers() | ({"adversary_optimizer": self.critic.optimizer} if self.critic else {})

    def _rates(self) -> dict[str, float]:
        adversary = {"loss.adversarial.optimizer.lr": self.recipe.loss.adversarial.optimizer.lr} if self.critic else {}
        return super()._rates() | adversary


def start_tokenizer(recipe: Recipe) -> Tokenizer:
    """The tokenizer that a run begins with: new weights, or trained ones."""
    tokenizer = build(recipe.tokenizer, **recipe.config) if recipe.start == "fresh" else load(recipe.tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise UsageError(f"'{recipe.tokenizer}' is no tokenizer; this loop trains tokenizers")
    if recipe.backbone:
        start_from_backbone(tokenizer, recipe.backbone)
    tokenizer.licence = recipe.licence or tokenizer.licence
    return tokenizer


def _check_crop(crop: int, tokenizer: Tokenizer) -> None:
    """`UsageError` unless a crop is a whole number of tokens, and the one size where the tokenizer has one."""
    if tokenizer.image_size not in (None, crop):
        raise UsageError(f"{tokenizer.name} takes images of {tokenizer.image_size} pixels; set data.crop to that")
    if crop % tokenizer.stride:
        raise UsageError(
            f"data.crop {crop} is no multiple of {tokenizer.stride}, the pixels a token of {tokenizer.name} spans"
        )
