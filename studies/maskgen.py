"""Masked generation from texts, of codes and of continuous tokens: MaskGen (arXiv 2501.07730).

`python -m studies.maskgen --data FOLDER` trains two small generators on handwritten digits, whose captions are the
words for them: MaskGen on 8×8 patches, each one of 128 k-means centres, and MaskGen-KL on the 8×8 latents of a small
autoencoder. A text encoder of random weights reads the words: it tells them apart, no more. Asked for, of each: the
loss on held-out images is higher with the words for other digits; samples are taken for what the text says more often
with guidance than without; and samples of 16 steps come nearer to images than those of one.

Legend: n images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studies.common import Record, interval, options, parse, publish, table
from studies.digits import CLASSES, HELD_OUT, TEST, TRAIN, WORDS, drawn, learned, network, write_digits
from studies.guidance import labelled
from studies.latents import Autoencoder
from studies.measure import load_model
from studies.patches import PatchCodes
from studies.probe import ClassProbe
from studies.runs import kept, trained_generator, trained_tokenizer
from studies.words import LENGTH, write_encoder
from zellige.core.condition import TextFeatures
from zellige.core.contract import Tokenizer
from zellige.core.generator import Generator
from zellige.core.hub import load
from zellige.encoders.text import TextEncoder
from zellige.evaluate.environment import environment
from zellige.generate.images import ImageGenerator
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import Recipe

NAME, PATCH, LEARNED = "maskgen", 4, 2000
ARMS = {"maskgen": "MaskGen, codes", "maskgen-kl": "MaskGen-KL, latents"}
MANY, GUIDED, FEW = "16 steps", "16 steps, guided", "1 step"
DRAWS: dict[str, dict[str, Any]] = {
    MANY: {"steps": 16, "guidance": 1.0},
    GUIDED: {"steps": 16, "guidance": 3.0},
    FEW: {"steps": 1, "guidance": 1.0},
}
"""How the generators are sampled, beside the temperatures of their presets."""
OPTIONS: dict[str, dict[str, Any]] = {"maskgen": {}, "maskgen-kl": {"clip": 4.0}}
"""What each of `ARMS` is sampled with besides."""
REPEATS = 4
"""Draws of masks, and of noise, that the loss on held-out images is averaged over."""


@dataclass(frozen=True)
class Scale:
    """What is trained.

    Attributes:
        codes: K of the patches.
        autoencoder: of the continuous latents.
        dim: channels of both transformers, of ``depth`` blocks with ``heads`` of attention and ``hidden`` in their MLP.
        head: channels of the network that makes a latent of noise, of ``head_depth`` blocks.
        steps: of training, each of ``batch_size`` images, of either generator.
        held_out: images, at most.
        learned: training images, at most, that the probe is fitted to.
    """

    codes: int = 128
    autoencoder: Autoencoder = field(default_factory=lambda: Autoencoder(dim=8))
    dim: int = 128
    depth: int = 3
    heads: int = 4
    hidden: int = 512
    head: int = 128
    head_depth: int = 3
    steps: int = 700
    batch_size: int = 32
    held_out: int = HELD_OUT
    learned: int = LEARNED

    def encoder(self, train: Path, seed: int) -> Recipe:
        """The training of the autoencoder on digits, which are not mirrored."""
        recipe = self.autoencoder.recipe(train.parent, seed).model_dump(exclude_unset=True)
        return Recipe.model_validate(recipe | {"data": self._images(train)})

    def recipe(self, arm: str, source: dict[str, Any], encoder: Path, seed: int) -> GeneratorRecipe:
        """The training of one of `ARMS`; `source` names its tokens, or its tokenizer and its images."""
        config = {"dim": self.dim, "depth": self.depth, "heads": self.heads, "hidden": self.hidden}
        config |= {"text_tokens": LENGTH, "score_waves": 0}
        if arm == "maskgen-kl":
            config |= {"head_width": self.head, "head_depth": self.head_depth, "latent_scale": 1.0}
        return GeneratorRecipe.model_validate(
            {
                "generator": f"{arm}/small",
                "config": config,
                **source,
                "condition": "text",
                "text_encoder": str(encoder),
                "optimizer": {"lr": 1e-3, "weight_decay": 0.03, "warmup": min(50, self.steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": 50,
                "checkpoint_every": 250,
                "sample_every": 0,
            }
        )

    def sources(self, train: Path, work: Path, seed: int) -> dict[str, tuple[Tokenizer, dict[str, Any]]]:
        """The tokenizer of each of `ARMS`, and what its recipe calls its tokens."""
        patches = PatchCodes.of(train, PATCH, self.codes)
        tokens = patches.token_set(train, LEARNED, work / f"patches-{self.codes}.parquet").path
        folder = trained_tokenizer(self.encoder(train, seed), work, "autoencoder")
        images = {"tokenizer": str(folder), "data": self._images(train)}
        return {"maskgen": (patches, {"tokens": str(tokens)}), "maskgen-kl": (load_model(folder), images)}

    def _images(self, train: Path) -> dict[str, Any]:
        return {"train": [str(train)], "crop": 32, "scale": [1.0, 1.0], "flip": False}


QUICK = Scale(
    codes=16,
    autoencoder=Autoencoder(dim=4, channels=8, steps=2, batch_size=4),
    dim=16,
    depth=1,
    heads=2,
    hidden=16,
    head=16,
    head_depth=1,
    steps=2,
    batch_size=4,
    held_out=20,
    learned=24,
)
"""The same in seconds, to see that everything runs; its figures say nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and table."""
    parser = options(NAME, str(__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=1)
    wanted = parse(parser, arguments)
    scale = QUICK if wanted.scale == "quick" else Scale()
    record = study(scale, wanted.seeds, wanted.work / wanted.scale)
    publish(record, table_of(record), wanted.output)


def study(scale: Scale, seeds: int, work: Path) -> Record:
    """The record of all runs."""
    features, runs = network(), []
    write_digits(work)
    encoder = write_encoder(work / "words", WORDS)
    for seed in range(seeds):
        for arm, (tokenizer, source) in scale.sources(work / TRAIN, work, seed).items():
            folder = trained_generator(scale.recipe(arm, source, encoder, seed), work, arm)
            draws = {name: options | OPTIONS[arm] for name, options in DRAWS.items()}
            measured = partial(measure, scale, folder, tokenizer, draws, seed, work)
            runs.append({"arm": arm, "seed": seed, **kept(folder / "measured.json", measured)})
            print(f"{arm}, seed {seed}: {runs[-1]['own']:.3f}, of other texts {runs[-1]['other']:.3f}", flush=True)
    return {
        "study": NAME,
        "paper": "arXiv 2501.07730",
        "title": "handwritten digits, 32 px",
        "scale": asdict(scale),
        "draws": {arm: {name: options | more for name, options in DRAWS.items()} for arm, more in OPTIONS.items()},
        "features": f"{features.name}, {features.resize}, weights {features.fingerprint}",
        "runs": runs,
        "environment": environment(torch.device("cpu")),
    }


def measure(
    scale: Scale, folder: Path, tokenizer: Tokenizer, draws: dict[str, dict[str, Any]], seed: int, work: Path
) -> Record:
    """The figures of one generator, drawn in every way."""
    features, generator = network(), load(str(folder), kind=Generator, quiet=True)  # type: ignore[type-abstract]
    texts = TextEncoder.load(generator.config.text_encoder)
    texts.read_for(generator.name, generator.reading())
    words = texts(WORDS)

    def said(labels: Sequence[int] | Tensor) -> TextFeatures:
        return words.each(lambda part: part[torch.as_tensor(labels)])

    probe = ClassProbe.fit(features, learned(tokenizer, work / TRAIN, scale.learned), CLASSES)
    images, test = ImageGenerator(generator, tokenizer), work / TEST
    found = drawn(images, draws, test, scale.held_out, seed, features, probe, said)
    losses: dict[str, list[float]] = {"own": [], "other": []}
    for number, (x, labels) in enumerate(labelled(test, scale.held_out)):
        tokens = tokenizer.encode(x)
        others = (labels + 1 + torch.arange(len(labels)) % (CLASSES - 1)) % CLASSES
        for name, text in (("own", said(labels)), ("other", said(others))):
            torch.manual_seed(number)  # the same masks and noise for both
            for _ in range(REPEATS):
                losses[name] += [_loss(generator, tokens, text)] * len(x)
    return {**found, **{name: math.fsum(values) / len(values) for name, values in losses.items()}}


@torch.inference_mode()
def _loss(generator: Generator, tokens: Any, text: TextFeatures) -> float:
    return float(sum(generator.loss(tokens, condition=text).values()))


def table_of(record: Record) -> str:
    """A column for each of `ARMS`, and what was asked for."""
    rows = []
    arms = {arm: [run for run in record["runs"] if run["arm"] == arm] for arm in ARMS}
    shown = {
        "loss on held-out images, with their texts and with others": (("own", "other"), ".3f", "higher"),
        "samples classified right: without guidance, and with": ((MANY, GUIDED), ".1%", "more"),
        "reconstructions classified right": (("right",), ".1%", ""),
        "distance of samples: in 1 step, in 16 steps": ((FEW, MANY), ".0f", "lower"),
        "distance of reconstructions": (("reconstructed",), ".0f", ""),
    }
    for words, (keys, form, asked) in shown.items():
        cells, met = [], []
        for runs in arms.values():
            values = [[_value(run, key, words) for run in runs] for key in keys]
            cells.append(", ".join(interval(some).show(form) for some in values))
            if asked:
                first, second = values[0], values[-1]
                met += [b < a if asked == "lower" else b > a for a, b in zip(first, second, strict=True)]
        found = f"{asked}: {'met' if all(met) else 'not met'}, by {sum(met)} of {len(met)} runs"
        rows.append((words, *cells, found if asked else ""))
    return table((record["title"], *ARMS.values(), "asked for"), rows)


def _value(run: Record, key: str, words: str) -> float:
    """A figure of a run, or of one way of drawing."""
    found = run["draws"][key]["distance" if words.startswith("distance") else "right"] if key in DRAWS else run[key]
    return float(found)


if __name__ == "__main__":
    main()
