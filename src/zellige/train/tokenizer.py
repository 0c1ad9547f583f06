"""The tokenizer loop: every tokenizer of the library is trained here.

Each step draws its crops, reconstructs them, adds the pixel terms and the tokenizer's own losses, and
takes one AdamW step. All randomness is a function of (seed, step, process), so an interrupted run
that resumes from its checkpoint is the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError
from zellige.core.files import replacing
from zellige.core.hub import WEIGHTS, write_model
from zellige.core.registry import build
from zellige.data import TrainStream, open_images
from zellige.data.transforms import RandomScaleCrop
from zellige.losses.pixel import pixel_loss
from zellige.train.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from zellige.train.interrupt import deferred_interrupt
from zellige.train.log import Log
from zellige.train.optim import learning_rate, make_optimizer, update_average
from zellige.train.recipe import Recipe

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
        output: folder for `model.safetensors`, `checkpoint.safetensors`, `log.jsonl`, `recipe.json`.
        resume: go on from the checkpoint in `output`.
        on_log: called with each line of the log.

    Raises:
        UsageError: `output` holds another run and `resume` is not set, or nothing to resume.
        ZelligeError: the loss stays non-finite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is done and a checkpoint is written.
    """
    return TokenizerRun(recipe, Path(output), resume).train(on_log)


class TokenizerRun:
    """The state of one run: model, optimizer, averaged weights, data, and the step they are at."""

    def __init__(self, recipe: Recipe, output: Path, resume: bool) -> None:
        if (output / CHECKPOINT).exists() and not resume:
            raise UsageError(f"'{output}' holds a training run; add --resume to go on, or choose another folder")
        self.recipe, self.output = recipe, output
        self.accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
        torch.manual_seed(recipe.seed)
        tokenizer = build(recipe.tokenizer, **recipe.config)
        assert isinstance(tokenizer, Tokenizer)
        _check_crop(recipe.data.crop, tokenizer)
        self.tokenizer = tokenizer.to(self.accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(self.tokenizer.parameters(), recipe.optimizer)
        self.average = {k: v.detach().clone() for k, v in self.tokenizer.state_dict().items()}
        self.stream = TrainStream(
            open_images(recipe.data.train),
            RandomScaleCrop(recipe.data.crop, recipe.data.scale),
            recipe.batch_size,
            seed=recipe.seed,
            crops_per_image=recipe.data.crops_per_image,
            min_side=recipe.data.min_side,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        self.step = 0
        if resume:
            average, header = load_checkpoint(output, self.tokenizer, optimizer)
            self.average = {k: v.to(self.accelerator.device) for k, v in average.items()}
            self.step = header["step"]
            self.stream.load_state_dict(header["data"])
        self.model, self.optimizer = self.accelerator.prepare(self.tokenizer, optimizer)
        output.mkdir(parents=True, exist_ok=True)

    def train(self, on_log: Callable[[dict[str, Any]], None] | None) -> Path:
        """Take the steps that are left, and save the model."""
        recipe, main = self.recipe, self.accelerator.is_main_process
        log = Log(self.output / "log.jsonl", self.step, on_log) if main else None
        if main:
            with replacing(self.output / "recipe.json") as temporary:
                temporary.write_text(recipe.model_dump_json(indent=1), "utf-8")
        batches, skipped = iter(self.stream), 0
        self.model.train()
        with deferred_interrupt() as interrupt:
            while self.step < recipe.steps:
                values, finite = self.take_step(next(batches))
                skipped = 0 if finite else skipped + 1
                if skipped >= MAX_SKIPPED:
                    raise ZelligeError(
                        f"the loss was not finite for {skipped} steps up to step {self.step}; "
                        f"lower optimizer.lr (now {recipe.optimizer.lr:g}) or train in fp32"
                    )
                if log and (self.step % recipe.log_every == 0 or self.step in (1, recipe.steps)):
                    log.write(self.step, {k: float(v.detach()) for k, v in values.items()} | {"skipped": skipped})
                if interrupt.requested or self.step % recipe.checkpoint_every == 0:
                    self.checkpoint()
                if interrupt.requested:
                    raise KeyboardInterrupt
        self.checkpoint()
        if main:
            write_model(self.tokenizer, self.output / WEIGHTS, state=self.average)
        self.accelerator.wait_for_everyone()
        return self.output / WEIGHTS

    def take_step(self, x: Tensor) -> tuple[dict[str, Tensor], bool]:
        """One optimizer step on crops (B, 3, S, S); returns what to log, and whether all was finite.

        A step whose loss or gradient is not finite changes nothing but the step count.
        """
        recipe, accelerator = self.recipe, self.accelerator
        torch.manual_seed(hash((recipe.seed, self.step, accelerator.process_index)) % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, recipe.steps, recipe.optimizer)
        x = x.to(accelerator.device, memory_format=torch.channels_last)
        with accelerator.autocast():
            result = self.model(x)
        terms = pixel_loss(result.output, x, recipe.loss.model_dump()) | result.losses
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip)
        finite = bool(torch.isfinite(norm)) and bool(torch.isfinite(loss))
        if finite:
            self.optimizer.step()
            update_average(self.average, self.tokenizer.state_dict(), recipe.ema, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {**terms, "loss": loss, "grad_norm": norm, **result.stats}, finite

    def checkpoint(self) -> None:
        """Write what the run needs to go on from here."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            header = {"step": self.step, "tokenizer": self.tokenizer.name, "data": self.stream.state_dict()}
            save_checkpoint(self.output, self.tokenizer, self.average, self.optimizer, header)


def _check_crop(crop: int, tokenizer: Tokenizer) -> None:
    """`UsageError` unless a crop is a whole number of tokens, and the one size where the tokenizer has one."""
    if tokenizer.image_size not in (None, crop):
        raise UsageError(f"{tokenizer.name} takes images of {tokenizer.image_size} pixels; set data.crop to that")
    if crop % tokenizer.stride:
        raise UsageError(
            f"data.crop {crop} is no multiple of {tokenizer.stride}, the pixels a token of {tokenizer.name} spans"
        )
