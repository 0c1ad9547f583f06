"""The tokenizer loop: every tokenizer of the library is trained here.

Each step draws its crops, reconstructs them, adds pixel, perceptual and adversarial terms and the
tokenizer's own losses, and takes one AdamW step; then the discriminator, if there is one, takes its own. All
randomness is a function of (seed, step, process), so an interrupted run that resumes from its checkpoint
is the same run.

Legend: B samples, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.func import functional_call

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError
from zellige.core.files import replacing
from zellige.core.hub import WEIGHTS, load, write_model
from zellige.core.registry import build
from zellige.data import TrainStream, open_images
from zellige.data.transforms import RandomScaleCrop
from zellige.latent.technique import Trained
from zellige.losses.pixel import pixel_loss
from zellige.train.agree import any_rank, rank_means
from zellige.train.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from zellige.train.critic import Critic
from zellige.train.curves import write_curves
from zellige.train.interrupt import deferred_interrupt
from zellige.train.log import Log, require_tensorboard
from zellige.train.objective import make_perceptual
from zellige.train.optim import (
    copy_statistics,
    learning_rate,
    make_optimizer,
    restore_statistics,
    set_rate,
    synced,
    update_average,
)
from zellige.train.recipe import Recipe
from zellige.train.samples import COLUMNS, save_samples
from zellige.train.techniques import make_techniques

LOG, RECIPE = "log.jsonl", "recipe.json"
MAX_SKIPPED = 10
"""Non-finite steps in a row after which a run stops: the weights will not recover by themselves."""


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


class TokenizerRun:
    """The state of one run: model, critic, optimizers, averaged weights, data, and the step they are at."""

    def __init__(self, recipe: Recipe, output: Path, resume: bool) -> None:
        if (output / CHECKPOINT).exists() and not resume:
            raise UsageError(f"'{output}' holds a training run; add --resume to go on, or choose another folder")
        if recipe.tensorboard:
            require_tensorboard()
        self.recipe, self.output = recipe, output
        AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
        self.accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
        torch.manual_seed(recipe.seed)
        tokenizer = start_tokenizer(recipe)
        _check_crop(recipe.data.crop, tokenizer)
        self.tokenizer = tokenizer.to(self.accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.trains == "decoder":
            self.tokenizer.freeze_codes()
        self.techniques = make_techniques(recipe, self.tokenizer)
        model: nn.Module = self.tokenizer
        if self.techniques:
            model = Trained(self.tokenizer, self.techniques.to(self.accelerator.device))
        optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], recipe.optimizer)
        self.average = {k: v.detach().clone() for k, v in self.tokenizer.state_dict().items()}
        self.perceptual, self.critic = self._judges()
        self.stream = TrainStream(
            open_images(recipe.data.train),
            RandomScaleCrop(recipe.data.crop, recipe.data.scale),
            recipe.batch_size,
            seed=recipe.seed,
            crops_per_image=recipe.data.crops_per_image,
            min_side=recipe.data.min_side,
            area=recipe.data.area,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        self.step = 0
        if resume and ((output / CHECKPOINT).exists() or not (output / RECIPE).exists()):
            average, header = load_checkpoint(output, self._modules(), self._optimizers(optimizer))
            self.average = {k: v.to(self.accelerator.device) for k, v in average.items()}
            self.step = header["step"]
            self.stream.load_state_dict(header["data"])
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        if self.critic:
            self.critic.prepare()

    def train(self, on_log: Callable[[dict[str, Any]], None] | None) -> Path:
        """Take the steps that are left, and save the model."""
        recipe, main = self.recipe, self.accelerator.is_main_process
        batches, skipped = iter(self.stream), 0
        first = self._draw(batches) if self.step < recipe.steps else []  # a set with nothing usable fails here …
        log = self._start_log(on_log) if main else None  # … before anything is written
        self.model.train()
        with deferred_interrupt() as interrupt:
            while self.step < recipe.steps:
                crops, first = first or self._draw(batches), []
                values, finite = self.take_step(crops)
                skipped = 0 if finite else skipped + 1
                if skipped >= MAX_SKIPPED:
                    raise ZelligeError(
                        f"the loss was not finite for {skipped} steps up to step {self.step}; {self._remedy()}"
                    )
                if self.step % recipe.log_every == 0 or self.step in (1, recipe.steps):
                    line = rank_means(values)
                    if log:
                        log.write(self.step, line | {"skipped": skipped})
                if recipe.sample_every and self.step % recipe.sample_every == 0:
                    self.sample(crops[0])
                stop = any_rank(interrupt.requested, self.accelerator.device)
                if stop or self.step % recipe.checkpoint_every == 0:
                    self.checkpoint()
                if stop:
                    raise KeyboardInterrupt
        self.checkpoint()
        if main:
            dtype = torch.bfloat16 if recipe.dtype == "bf16" else None
            write_model(self.tokenizer, self.output / WEIGHTS, state=self.average, dtype=dtype)
        self.accelerator.wait_for_everyone()
        return self.output / WEIGHTS

    def _draw(self, batches: Iterator[Tensor]) -> list[Tensor]:
        """The batches of one step."""
        return [next(batches) for _ in range(self.recipe.accumulate)]

    def take_step(self, crops: list[Tensor]) -> tuple[dict[str, Tensor], bool]:
        """One step of each optimizer on batches of crops (B, 3, S, S); returns what to log, and if all was finite.

        Where loss or gradient are not finite nothing is changed, statistics of the codes included; the discriminator
        waits if it is so for the tokenizer.
        """
        recipe, accelerator = self.recipe, self.accelerator
        torch.manual_seed(hash((recipe.seed, self.step, accelerator.process_index)) % 2**63)
        set_rate(self.optimizer, learning_rate(self.step, recipe.steps, recipe.optimizer))
        share = self.critic.share(self.step) if self.critic else 0.0
        if self.techniques:
            self.techniques.progress = self.step / recipe.steps
        before = {prefix: copy_statistics(module) for prefix, module in self._modules().items()}
        values: dict[str, Tensor] = {}
        pairs: list[tuple[Tensor, Tensor]] = []
        for x in synced(accelerator, self.model, crops):
            x = x.to(accelerator.device, memory_format=torch.channels_last)
            loss, output, found = self.loss(x, share)
            accelerator.backward(loss / len(crops))
            pairs.append((x, output))
            for key, value in found.items():
                values[key] = values.get(key, 0.0) + value.detach() / len(crops)
        norm = accelerator.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip)
        broken = not (bool(torch.isfinite(norm)) and bool(torch.isfinite(values["loss"])))
        finite = not any_rank(broken, accelerator.device)
        if finite:
            self.optimizer.step()
            update_average(self.average, self.tokenizer.state_dict(), recipe.ema, self.step)
        else:
            for prefix, module in self._modules().items():
                if prefix != "adversary":  # which has not run yet
                    restore_statistics(module, before[prefix])
        self.optimizer.zero_grad(set_to_none=True)
        values["grad_norm"] = norm
        if share and finite and self.critic:
            found, finite = self.critic.take_step(self.step, pairs)
            values |= found
        if self.critic and not finite:
            restore_statistics(self.critic.adversary, before["adversary"])
        self.step += 1
        return values, finite

    def loss(self, x: Tensor, share: float) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss of crops (B, 3, S, S), their reconstructions without gradient, and what to log.

        `share` is the weight of the adversarial term, before adaptation.
        """
        settings = self.recipe.loss
        with self.accelerator.autocast():
            result = self.model(x)
        terms, stats = pixel_loss(result.output, x, settings.pixel), dict(result.stats)
        if self.perceptual:
            terms["perceptual"] = settings.perceptual.weight * self.perceptual(result.output, x)
        if share and self.critic:
            reconstruction = torch.stack(list(terms.values())).sum()
            judged, found = self.critic.judge(result.output, reconstruction, self.tokenizer.last_layer())
            terms["adversarial"] = share * judged
            stats |= found
        terms |= result.losses
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        return loss, result.output.detach(), {**terms, "loss": loss, **stats}

    @torch.no_grad()
    def sample(self, x: Tensor) -> None:
        """Write a picture of crops (B, 3, S, S) and of what the averaged weights make of them."""
        x = x[:COLUMNS].to(self.accelerator.device, memory_format=torch.channels_last)
        self.tokenizer.eval()
        result = functional_call(self.tokenizer, self.average, (x,))  # on all processes: some systems sum over them
        self.tokenizer.train()
        if self.accelerator.is_main_process:
            save_samples(self.output / "samples", self.step, x, result.output)

    def checkpoint(self) -> None:
        """Write what the run needs to go on from here, and draw its curves."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            header = {"step": self.step, "tokenizer": self.tokenizer.name, "data": self.stream.state_dict()}
            optimizers = self._optimizers(self.optimizer)
            save_checkpoint(self.output, self._modules(), optimizers, self.average, header)
            write_curves(self.output / LOG, self.output / "curves.svg")

    def _judges(self) -> tuple[nn.Module | None, Critic | None]:
        """The perceptual loss and the critic, where the recipe gives them a weight."""
        wanted, perceptual, critic = self.recipe.loss, None, None
        if wanted.perceptual.weight:
            perceptual = make_perceptual(wanted.perceptual).to(self.accelerator.device)
        if wanted.adversarial.weight:
            if wanted.adversarial.adaptive:
                self.tokenizer.last_layer()  # some systems have none: said now, not when it is needed
            critic = Critic(wanted.adversarial, self.recipe.steps, self.accelerator)
        return perceptual, critic

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"model": self.tokenizer}
        if self.techniques and self.techniques.state_dict():  # most have nothing to keep
            modules["techniques"] = self.techniques
        if self.critic:
            modules["adversary"] = self.critic.adversary
        return modules

    def _optimizers(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": optimizer} | ({"adversary_optimizer": self.critic.optimizer} if self.critic else {})

    def _remedy(self) -> str:
        rates = {"optimizer.lr": self.recipe.optimizer.lr}
        if self.critic:
            rates["loss.adversarial.optimizer.lr"] = self.recipe.loss.adversarial.optimizer.lr
        lower = " or ".join(f"{key} (now {rate:g})" for key, rate in rates.items())
        return f"lower {lower}, or train in fp32"

    def _start_log(self, on_log: Callable[[dict[str, Any]], None] | None) -> Log:
        """The log from this step on, beside the recipe with all that it left open."""
        self.output.mkdir(parents=True, exist_ok=True)
        if (self.output / RECIPE).exists():  # a run that may have been killed while it wrote
            ours = [f".{name}.*.tmp" for name in (CHECKPOINT, WEIGHTS, RECIPE, LOG)]
            for pattern in (*ours, ".tmp??????"):  # the last are those of safetensors
                for leftover in filter(Path.is_file, self.output.glob(pattern)):
                    leftover.unlink(missing_ok=True)
        with replacing(self.output / RECIPE) as temporary:
            temporary.write_text(self.recipe.model_dump_json(indent=1), "utf-8")
        board = self.output / "tensorboard" if self.recipe.tensorboard else None
        return Log(self.output / LOG, self.step, on_log, board)


def start_tokenizer(recipe: Recipe) -> Tokenizer:
    """The tokenizer that a run begins with: new weights, or trained ones."""
    tokenizer = build(recipe.tokenizer, **recipe.config) if recipe.start == "fresh" else load(recipe.tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise UsageError(f"'{recipe.tokenizer}' is no tokenizer; this loop trains tokenizers")
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
