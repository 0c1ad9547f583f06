"""The tokenizer loop: every tokenizer of the library is trained here.

Each step draws its crops, reconstructs them, adds the pixel terms and the tokenizer's own losses, and
takes one AdamW step. All randomness is a function of (seed, step, process), so an interrupted run
that resumes from its checkpoint is the same run.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError
from zellige.core.hub import WEIGHTS, write_model
from zellige.core.registry import build
from zellige.data import TrainStream, open_images
from zellige.data.transforms import RandomScaleCrop
from zellige.losses.pixel import pixel_loss
from zellige.train.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from zellige.train.interrupt import deferred_interrupt
from zellige.train.recipe import Optimizer, Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

MAX_SKIPPED = 10
"""Non-finite steps in a row after which a run stops: the weights will not recover by themselves."""


def learning_rate(step: int, steps: int, settings: Optimizer) -> float:
    """Linear warm-up, then half a cosine down to `final` × `lr`."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, steps - settings.warmup)
    return settings.lr * (settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * done)))


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
        UsageError: `output` holds another run and `resume` is not set.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is done and a checkpoint is written.
        ZelligeError: the loss stays non-finite.
    """
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    output = Path(output)
    if (output / CHECKPOINT).exists() and not resume:
        raise UsageError(f"'{output}' holds a training run; add --resume to go on, or choose another folder")
    output.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        dataloader_config=DataLoaderConfiguration(dispatch_batches=False),
    )
    torch.manual_seed(recipe.seed)
    tokenizer = build(recipe.tokenizer, **recipe.config)
    assert isinstance(tokenizer, Tokenizer)
    tokenizer.to(accelerator.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        tokenizer.parameters(),
        lr=recipe.optimizer.lr,
        betas=recipe.optimizer.betas,
        weight_decay=recipe.optimizer.weight_decay,
        fused=True,
    )
    average = {k: v.detach().clone() for k, v in tokenizer.state_dict().items()}
    stream = _stream(recipe, accelerator)
    start = 0
    if resume:
        average, header = load_checkpoint(output, tokenizer, optimizer)
        start = int(header["step"])
        stream.load_state_dict(header["data"])
        average = {k: v.to(accelerator.device) for k, v in average.items()}
    model, optimizer = accelerator.prepare(tokenizer, optimizer)
    batches = iter(stream)
    log = _Log(output / "log.jsonl", start, on_log) if accelerator.is_main_process else None
    if log:
        (output / "recipe.json").write_text(recipe.model_dump_json(indent=1), "utf-8")

    def checkpoint(step: int) -> None:
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            header = {"step": step, "tokenizer": tokenizer.name, "data": stream.state_dict()}
            save_checkpoint(output, tokenizer, average, optimizer, header)

    skipped = 0
    model.train()
    with deferred_interrupt() as interrupt:
        for step in range(start, recipe.steps):
            torch.manual_seed(hash((recipe.seed, step, accelerator.process_index)) % 2**63)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe.steps, recipe.optimizer)
            x = next(batches).to(accelerator.device, memory_format=torch.channels_last)
            with accelerator.autocast():
                result = model(x)
            terms = pixel_loss(result.output, x, recipe.loss.model_dump()) | result.losses
            loss = torch.stack([term.float() for term in terms.values()]).sum()
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), recipe.optimizer.clip)
            finite = bool(torch.isfinite(norm)) and bool(torch.isfinite(loss))
            if finite:
                optimizer.step()
                _update_average(average, tokenizer.state_dict(), min(recipe.ema, (1 + step) / (10 + step)))
            optimizer.zero_grad(set_to_none=True)
            skipped = 0 if finite else skipped + 1
            if skipped >= MAX_SKIPPED:
                raise ZelligeError(
                    f"the loss was not finite for {skipped} steps up to step {step + 1}; "
                    f"lower optimizer.lr (now {recipe.optimizer.lr:g}) or train in fp32"
                )
            if log and (step % recipe.log_every == 0 or step + 1 == recipe.steps):
                values = {**terms, "loss": loss, "grad_norm": norm, **result.stats}
                log.write(step + 1, {k: float(v.detach()) for k, v in values.items()} | {"skipped": skipped})
            if interrupt.requested or (step + 1) % recipe.checkpoint_every == 0:
                checkpoint(step + 1)
            if interrupt.requested:
                raise KeyboardInterrupt
    checkpoint(recipe.steps)
    if accelerator.is_main_process:
        write_model(tokenizer, output / WEIGHTS, state=average.items())
    accelerator.wait_for_everyone()
    return output / WEIGHTS


def _stream(recipe: Recipe, accelerator: Accelerator) -> TrainStream:
    """Training crops (B, 3, S, S) in [-1, 1] of this process, without end."""
    return TrainStream(
        open_images(recipe.data.train),
        RandomScaleCrop(recipe.data.crop, recipe.data.scale),
        recipe.batch_size,
        seed=recipe.seed,
        crops_per_image=recipe.data.crops_per_image,
        min_side=recipe.data.min_side,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


@torch.no_grad()
def _update_average(average: dict[str, Tensor], state: dict[str, Tensor], decay: float) -> None:
    """Exponential moving average of the floating-point state; counters are copied."""
    floats = [k for k, v in average.items() if v.is_floating_point()]
    torch._foreach_lerp_([average[k] for k in floats], [state[k] for k in floats], 1 - decay)
    for k in average.keys() - set(floats):
        average[k].copy_(state[k])


class _Log:
    """`log.jsonl`: one line every few steps; a resumed run drops the lines it will write again."""

    def __init__(self, path: Path, start: int, on_log: Callable[[dict[str, Any]], None] | None) -> None:
        kept = []
        if start and path.exists():
            for line in path.read_text("utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= start:
                        kept.append(line)
                except (ValueError, KeyError):
                    continue  # a line cut off by a kill
        path.write_text("".join(line + "\n" for line in kept), "utf-8")
        self.path, self.on_log = path, on_log
        self.clock, self.last = time.perf_counter(), start

    def write(self, step: int, values: dict[str, float]) -> None:
        now = time.perf_counter()
        line = {"step": step, **values, "steps_per_second": (step - self.last) / max(now - self.clock, 1e-9)}
        self.clock, self.last = now, step
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        if self.on_log:
            self.on_log(line)
