"""The generator loop: every generator of the library is trained here.

Each step draws tokens, from a token set or from images that a frozen tokenizer encodes, with a class or a text for
each, and takes one AdamW step on the generator's own loss. Legend: B samples, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zellige.core.condition import Condition
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.core.hub import WEIGHTS, load, write_model
from zellige.core.images import save_image, tile
from zellige.core.pixels import to_uint8
from zellige.core.registry import build
from zellige.core.tokens import Tokens
from zellige.encoders.text import TextEncoder
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.optim import make_optimizer
from zellige.train.run import TrainingRun
from zellige.train.samples import COLUMNS
from zellige.train.token_source import TokenSource, open_token_source
from zellige.train.token_stream import ConditionedTokens


def train_generator(
    recipe: GeneratorRecipe,
    output: str | Path,
    *,
    resume: bool = False,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train a generator; returns the path of the saved model (averaged weights).

    Args:
        recipe: what to train, on what, and how long.
        output: folder for `model.safetensors`, `checkpoint.safetensors`, `log.jsonl`, `curves.svg`, `samples` and
            `recipe.json`; and for `tokenizer`, a copy of the one that lies in a folder.
        resume: go on from the checkpoint in `output`.
        on_log: called with each line of the log.

    Raises:
        UsageError: `output` holds another run and `resume` is not set, or nothing to resume; the generator cannot
            model these tokens; there are no classes, or only one.
        ZelligeError: the loss stays non-finite; a batch does not fit in memory.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is done and a checkpoint is written.
    """
    return GeneratorRun(recipe, Path(output), resume).train(on_log)


class GeneratorRun(TrainingRun[GeneratorRecipe, Generator, ConditionedTokens]):
    """A run of this loop: the generator, the source of its tokens, the encoder of its texts."""

    def __init__(self, recipe: GeneratorRecipe, output: Path, resume: bool) -> None:
        super().__init__(recipe, output, resume)
        self.source = open_token_source(recipe, self.accelerator)
        self.texts = TextEncoder.load(recipe.text_encoder, self.accelerator.device) if recipe.text_encoder else None
        self.system = start_generator(recipe, self.source, self.texts).to(self.accelerator.device)
        self.system.checkpoint_gradients(recipe.gradient_checkpointing)
        self.stream = self.source.stream
        model = _Learner(self.system)
        self._begin(model, make_optimizer(model.parameters(), recipe.optimizer))

    def prepare_step(self) -> None:
        self.system.progress(self.step / self.recipe.steps)

    def train(self, on_log: Callable[[dict[str, Any]], None] | None) -> Path:
        path = super().train(on_log)
        if self.accelerator.is_main_process and self.recipe.tokenizer and Path(self.recipe.tokenizer).exists():
            assert self.source.tokenizer is not None
            write_model(self.source.tokenizer, self.output / "tokenizer" / WEIGHTS)
        return path

    def loss(self, batch: ConditionedTokens) -> tuple[Tensor, dict[str, Tensor]]:
        with self.accelerator.autocast():
            terms = self.model(batch.tokens, self._condition(batch))
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        return loss, {**terms, "loss": loss}

    @torch.no_grad()
    def sample(self, batch: ConditionedTokens) -> None:
        """Write a picture of samples by the averaged weights, for the conditions of a batch in turn.

        The seeds are those of the picture before, so that pictures show what has changed.
        """
        tokenizer = self.source.tokenizer
        if tokenizer is None:
            return
        weights = {f"generator.{key}": value for key, value in self._whole_average().items()}
        if not self.accelerator.is_main_process:
            return
        tokens = functional_call(_Drawer(self.drawn), weights, (self._shown(batch), self.recipe.samples))
        folder = self.output / "samples"
        folder.mkdir(exist_ok=True)
        save_image(folder / f"step-{self.step:06d}.png", tile(to_uint8(tokenizer.decode(tokens)), COLUMNS))

    def _condition(self, batch: ConditionedTokens) -> Condition:
        return self.texts(batch.texts) if self.texts and batch.texts is not None else batch.labels

    def _shown(self, batch: ConditionedTokens) -> Condition:
        """As many conditions as a picture has samples."""
        count, size = self.recipe.samples, len(batch.tokens)
        texts = None if batch.texts is None else [batch.texts[i % size] for i in range(count)]
        labels = None if batch.labels is None else torch.arange(count) % self.system.classes
        return self._condition(replace(batch, texts=texts, labels=labels))

    def _less_memory(self, size: int, times: int) -> str:
        also = "" if self.recipe.gradient_checkpointing else ", or gradient_checkpointing=true"
        return super()._less_memory(size, times) + also


def start_generator(recipe: GeneratorRecipe, source: TokenSource, texts: TextEncoder | None) -> Generator:
    """The generator that a run begins with: built for the tokens and the conditions that there are, or trained."""
    if recipe.start == "fresh":
        found = {
            "classes": source.classes,
            "class_names": source.class_names,
            "tokenizer": source.tokenizer or source.name,
            "fingerprint": source.fingerprint,
            **({"text_dim": texts.dim, "text_encoder": texts.name} if texts else {}),
        }
        generator = build(recipe.generator, for_tokens=source.spec, **{**found, **recipe.config})
        if source.tokenizer is None and type(generator).adopt is not Generator.adopt:
            raise UsageError(f"{generator.system} reads tokens by the codes of {source.name}: name it, tokenizer=…")
    else:
        generator = load(recipe.generator, kind=Generator)  # type: ignore[type-abstract]
        check_made_for(generator, source)
    if texts:
        texts.read_for(generator.name, generator.reading())
        if recipe.start == "fresh" or generator.lacks_null():
            generator.set_null(texts([""]))
    generator.licence = recipe.licence or generator.licence
    return generator


def check_made_for(generator: Generator, source: TokenSource) -> None:
    """`UsageError` unless a trained generator models the tokens of the source."""
    if generator.spec != source.spec:
        raise UsageError(f"{generator.name} was built for {generator.spec}; these are {source.spec}: start=fresh")
    made_by = generator.config.fingerprint
    if made_by and made_by != source.fingerprint:
        raise UsageError(
            f"{generator.name} models tokens of {generator.config.tokenizer} with weights {made_by}; these were made "
            f"by {source.name} with weights {source.fingerprint}"
        )
    if source.classes > generator.classes:
        raise UsageError(f"{generator.name} has {generator.classes} classes; the tokens have {source.classes}")


class _Learner(nn.Module):
    """The loss of a generator as a forward pass, which is what processes and autocast wrap."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, tokens: Tokens, condition: Condition) -> dict[str, Tensor]:
        return self.generator.loss(tokens, condition)


class _Drawer(_Learner):
    """Sampling as a forward pass, which is what can be called with other weights."""

    def forward(self, condition: Condition, num: int) -> Tokens:  # type: ignore[override]
        return self.generator.sample(condition, num=num, seed=0)
