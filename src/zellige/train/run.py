"""What both loops are made of: steps that accumulate, guard and average; checkpoints; a log; a clean stop.

All randomness is a function of (seed, step, process), so an interrupted run that resumes from its checkpoint is
the same run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor, nn

from zellige.core.contract import Model
from zellige.core.errors import UsageError, ZelligeError, out_of_memory
from zellige.core.files import replacing
from zellige.core.hub import WEIGHTS, write_model
from zellige.nn.precision import fast_dtype
from zellige.train.agree import any_rank, rank_means, refuse_other_sharding
from zellige.train.checkpoint import CHECKPOINT, checkpoint_tensors, load_checkpoint, read_header, save_checkpoint
from zellige.train.curves import write_curves
from zellige.train.interrupt import deferred_interrupt
from zellige.train.log import Log, require_tensorboard
from zellige.train.optim import (
    copy_statistics,
    learning_rate,
    restart_replaced,
    restore_statistics,
    set_rate,
    synced,
    update_average,
)
from zellige.train.parts import RunSettings
from zellige.train.sharding import clip_gradients, divide, hollow, like, whole

LOG, RECIPE = "log.jsonl", "recipe.json"
MAX_SKIPPED = 10
"""Non-finite steps in a row after which a run stops: the weights will not recover by themselves."""

R = TypeVar("R", bound=RunSettings)
M = TypeVar("M", bound=Model)
Item = TypeVar("Item")
Drawn = TypeVar("Drawn", covariant=True)


class Stream(Protocol[Drawn]):
    """Endless batches that can go on from where they stood."""

    def __iter__(self) -> Iterator[Drawn]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TrainingRun(ABC, Generic[R, M, Item]):
    """The state of one run: model, optimizer, averaged weights, data, and the step they are at.

    Subclasses build `system`, `stream`, `model` and `optimizer`, call `_begin`, and say what the loss of a batch is.

    Attributes:
        system: what is trained and saved.
        model: what runs in training: `system`, or what holds it, wrapped for processes and precision.
        drawn: what pictures are made with, by `functional_call` with averaged weights.
        stream: its batches.
    """

    system: M
    model: nn.Module
    drawn: M
    optimizer: torch.optim.Optimizer
    stream: Stream[Item]
    average: dict[str, Tensor]

    def __init__(self, recipe: R, output: Path, resume: bool) -> None:
        if (output / CHECKPOINT).exists() and not resume:
            raise UsageError(f"'{output}' holds a training run; add --resume to go on, or choose another folder")
        if recipe.tensorboard:
            require_tensorboard()
        refuse_other_sharding()
        precision = recipe.precision if recipe.precision != "auto" else _precision(output, resume)
        self.recipe, self.output, self.resume = recipe.model_copy(update={"precision": precision}), output, resume
        AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
        self.accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
        self.step = 0
        torch.manual_seed(recipe.seed)

    @abstractmethod
    def loss(self, batch: Item) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what to log."""

    @abstractmethod
    def sample(self, batch: Item) -> None:
        """Write a picture of what the averaged weights do; all processes call it."""

    def prepare_step(self) -> None:
        """What changes with the progress of the run."""

    def train(self, on_log: Callable[[dict[str, Any]], None] | None) -> Path:
        """Take the steps that are left, and save the model."""
        recipe, main = self.recipe, self.accelerator.is_main_process
        batches, skipped = iter(self.stream), 0
        first = self._draw(batches) if self.step < recipe.steps else []  # a set with nothing usable fails here …
        log = self._start_log(on_log) if main else None  # … before anything is written
        self.model.train()
        with deferred_interrupt() as interrupt:
            while self.step < recipe.steps:
                items, first = first or self._draw(batches), []
                values, finite = self._guarded_step(items)
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
                    self.sample(items[0])
                stop = any_rank(interrupt.requested, self.accelerator.device)
                if stop or self.step % recipe.checkpoint_every == 0:
                    self.checkpoint()
                if stop:
                    raise KeyboardInterrupt
        self.checkpoint()
        average = self._whole_average()
        if main:
            dtype = torch.bfloat16 if recipe.dtype == "bf16" else None
            self.system.name = recipe.name or self.system.name
            write_model(self.system, self.output / WEIGHTS, state=average, dtype=dtype)
        self.accelerator.wait_for_everyone()
        return self.output / WEIGHTS

    def take_step(self, items: list[Item]) -> tuple[dict[str, Tensor], bool]:
        """One step on the batches of it; returns what to log, and if all was finite.

        Where loss or gradient are not finite nothing is changed, statistics of the codes included.
        """
        recipe, accelerator = self.recipe, self.accelerator
        torch.manual_seed(hash((recipe.seed, self.step, accelerator.process_index)) % 2**63)
        set_rate(self.optimizer, learning_rate(self.step, recipe.steps, recipe.optimizer))
        self.prepare_step()
        before = {prefix: copy_statistics(module) for prefix, module in self._stepped().items()}
        values: dict[str, Tensor] = {}
        for item in synced(accelerator, self.model, items):
            loss, found = self.loss(item)
            accelerator.backward(loss / len(items))
            for key, value in found.items():
                values[key] = values.get(key, 0.0) + value.detach() / len(items)
        clip = recipe.optimizer.clip
        if self.divided:
            norm = clip_gradients(self.model, clip)
        else:
            norm = accelerator.clip_grad_norm_(self.model.parameters(), clip)
        broken = not (bool(torch.isfinite(norm)) and bool(torch.isfinite(values["loss"])))
        finite = not any_rank(broken, accelerator.device)
        if finite:
            self.optimizer.step()
            update_average(self.average, self.system.state_dict(), recipe.ema, self.step)
            restart_replaced(self.average, self.system)
        else:
            for prefix, module in self._stepped().items():
                restore_statistics(module, before[prefix])
        self.optimizer.zero_grad(set_to_none=True)
        values["grad_norm"] = norm
        self.step += 1
        return values, finite

    def checkpoint(self) -> None:
        """Write what the run needs to go on from here, and draw its curves."""
        self.accelerator.wait_for_everyone()
        tensors = checkpoint_tensors(self._modules(), self._optimizers(), self.average)
        if self.accelerator.is_main_process:
            header = {"step": self.step, "model": self.system.name, "data": self.stream.state_dict()}
            header["precision"] = self.recipe.precision
            save_checkpoint(self.output, tensors, header)
            write_curves(self.output / LOG, self.output / "curves.svg")

    def _begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Restore the checkpoint, if the run goes on, and wrap model and optimizer for processes and precision."""
        self.optimizer = optimizer
        self.average = {k: v.detach().clone() for k, v in self.system.state_dict().items()}
        if self.resume and ((self.output / CHECKPOINT).exists() or not (self.output / RECIPE).exists()):
            average, header = load_checkpoint(self.output, self._modules(), self._optimizers())
            self.average = {k: v.to(self.accelerator.device) for k, v in average.items()}
            self.step = header["step"]
            self.stream.load_state_dict(header["data"])
        self.drawn = self.system
        if self.divided:
            self.drawn = hollow(self.system)
            divide(model, optimizer)
            self.average = {k: like(self.average[k], v) for k, v in self.system.state_dict().items()}
            self.model, self.optimizer = model, self.accelerator.prepare(optimizer)
        else:
            self.model, self.optimizer = self.accelerator.prepare(model, optimizer)

    @property
    def divided(self) -> bool:
        """Whether processes hold parts of the weights each."""
        return self.recipe.shard and self.accelerator.num_processes > 1

    def _whole_average(self) -> dict[str, Tensor]:
        """The averaged weights, put together if they are divided; all processes call it."""
        return {key: whole(value) for key, value in self.average.items()}

    def _guarded_step(self, items: list[Item]) -> tuple[dict[str, Tensor], bool]:
        """`take_step`; memory that does not suffice becomes an error that says what to set."""
        try:
            return self.take_step(items)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            size, times = self.recipe.batch_size, self.recipe.accumulate
            raise ZelligeError(f"a batch of {size} does not fit in memory; {self._less_memory(size, times)}") from error

    def _less_memory(self, size: int, times: int) -> str:
        return f"try batch_size={max(1, size // 2)} accumulate={2 * times}, which is the same step"

    def _draw(self, batches: Iterator[Item]) -> list[Item]:
        """The batches of one step."""
        return [next(batches) for _ in range(self.recipe.accumulate)]

    def _stepped(self) -> dict[str, nn.Module]:
        """The modules that a step of `optimizer` runs."""
        return {"model": self.system}

    def _modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds, by name."""
        return self._stepped()

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self.optimizer}

    def _remedy(self) -> str:
        rates = self._rates()
        lower = " or ".join(f"{key} (now {rate:g})" for key, rate in rates.items())
        return f"lower {lower}, or train in fp32"

    def _rates(self) -> dict[str, float]:
        """Learning rates by the keys that set them."""
        return {"optimizer.lr": self.recipe.optimizer.lr}

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


def _precision(output: Path, resume: bool) -> str:
    """That of the run that goes on, so that the machine it goes on at does not change it; else what is fast here."""
    if resume and (output / CHECKPOINT).is_file():
        began = read_header(output).get("precision", "bf16")  # checkpoints that do not say are older than the choice
        return "fp32" if began == "fp32" else "bf16"
    return "bf16" if fast_dtype(PartialState().device) is torch.bfloat16 else "fp32"
