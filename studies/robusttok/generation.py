"""What a generator makes of plain and of robust tokens (RobustTok, arXiv 2503.08354).

`python -m studies.robusttok.generation --data FOLDER` takes the pairs of tokenizers of `studies.robusttok`, trains the
same small generator for equal steps on the tokens of each, and measures the Fréchet distance of its samples. Asked
for: the distance is lower with the robust tokenizer, in the mean over the seeds.

Runs are kept beside those of the tokenizers, in the same work folder. Legend: S pixels a side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from studies.common import (
    Interval,
    Record,
    digest,
    interval,
    options,
    parse,
    publish,
    read_record,
    table,
    write_record,
)
from studies.measure import BATCH, load_model, network
from studies.robusttok import pairs
from studies.robusttok.settings import ARMS, SETTINGS, Setting, quick
from zellige.codec import TokenSetWriter
from zellige.core.hub import WEIGHTS
from zellige.core.pixels import from_uint8
from zellige.data import ImageRecord, open_images
from zellige.evaluate.environment import environment
from zellige.evaluate.generation import evaluate_generator
from zellige.generate.images import ImageGenerator, open_generator
from zellige.metrics.distribution import FeatureDistances
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import train_generator
from zellige.train.generator_recipe import GeneratorRecipe

NAME, MODULE = "robusttok-generation", "robusttok.generation"
DRAWN = 100
"""Samples that are drawn together: every pass of the network is for one token of each."""
FIGURES = {
    "gfd": ("distance of samples", ".1f"),
    "clean": ("distance of clean reconstructions", ".2f"),
    "perturbed": ("distance of perturbed reconstructions", ".2f"),
    "nats": ("cross-entropy of held-out tokens, nats", ".3f"),
}
"""What is shown of a run, the first of them being what is asked about, and its format."""


@dataclass(frozen=True)
class Generation:
    """The generator that is trained on the tokens of each tokenizer, and how its samples are judged.

    Attributes:
        images: of the training set, from its start, that become tokens.
        steps: of training, each of ``batch_size`` samples.
        generator: which one, made as small as the next say.
        dim: channels of the transformer, of ``depth`` blocks with ``heads`` of attention and ``hidden`` in their MLP.
        config: further values of its configuration.
        samples: drawn, of the classes of as many held-out images, with which they are compared.
        probed: held-out images whose tokens the generator is asked to predict.
        guidance: of the samples, 1 for none; errors of sampling are what robust tokens are to withstand.
        sampling: further values of sampling, beside guidance and temperature.
    """

    images: int = 20_000
    batch_size: int = 32
    steps: int = 600
    generator: str = "llamagen/small"
    dim: int = 128
    depth: int = 4
    heads: int = 4
    hidden: int = 384
    config: dict[str, Any] = field(default_factory=dict)
    samples: int = 2000
    probed: int = 512
    guidance: float = 1.0
    temperature: float = 1.0
    sampling: dict[str, Any] = field(default_factory=dict)

    def recipe(self, tokens: Path, tokenizer: Path, seed: int) -> GeneratorRecipe:
        """The training of one generator, conditioned on classes."""
        return GeneratorRecipe.model_validate(
            {
                "generator": self.generator,
                "config": {
                    "dim": self.dim,
                    "depth": self.depth,
                    "heads": self.heads,
                    "hidden": self.hidden,
                    "dropout": 0.0,
                    **self.config,
                },
                "tokens": str(tokens),
                "tokenizer": str(tokenizer),
                "optimizer": {"lr": 2e-3, "weight_decay": 0.05, "warmup": min(50, self.steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.99,
                "seed": seed,
                "log_every": 50,
                "checkpoint_every": 200,
                "sample_every": 0,
            }
        )

    @property
    def drawing(self) -> Record:
        """Values for sampling."""
        return {"guidance": self.guidance, "temperature": self.temperature, **self.sampling}


def quick_generation(generation: Generation) -> Generation:
    """The same in a second, to see that everything runs; its figures say nothing."""
    network: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "hidden": 16}
    return replace(generation, images=16, batch_size=4, steps=2, samples=8, probed=4, **network)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and table."""
    parser = options(MODULE, str(__doc__).partition("\n")[0], "robusttok")
    wanted = parse(parser, arguments)
    setting, generation = SETTINGS["cifar10"], Generation()
    if wanted.scale == "quick":
        setting, generation = quick(setting), quick_generation(generation)
    record = study(setting, generation, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, table_of(record), wanted.output, MODULE)


def study(setting: Setting, generation: Generation, seeds: int, data: Path, work: Path) -> Record:
    """All runs, and intervals over seeds of each arm and of the differences, robust less plain."""
    held_out = replace(setting.held_out, source=str(data / setting.held_out.source))
    judge = pairs.Judge(held_out.load(), network())
    runs = []
    for seed in range(seeds):
        for arm in ARMS:
            runs.append(run(setting, generation, arm, seed, data, work, judge))
            print(f"{setting.name}, {arm}, seed {seed}: gFD {runs[-1]['gfd']:.1f}", flush=True)
    recipe = generation.recipe(Path(), Path(), 0)
    return {
        "study": NAME,
        "paper": "arXiv 2503.08354",
        "title": setting.title,
        "generation": vars(generation),
        "recipe": json.loads(_text(recipe)),
        "runs": runs,
        "summary": {key: vars(value) for key, value in summary(runs).items()},
    }


def run(
    setting: Setting, generation: Generation, arm: str, seed: int, data: Path, work: Path, judge: pairs.Judge
) -> Record:
    """Train and measure one generator on the tokens of one tokenizer, unless that is done; the figures of both."""
    tokenizer = pairs.run(setting, arm, seed, data, work, judge)
    model = tokenizer["folder"]
    judged = repr((generation.drawing, generation.samples, generation.probed, setting.held_out.source))
    measured = _folder(generation, model, seed) / f"measured-{digest([judged])}.json"
    if not measured.is_file():
        folder = trained(generation, model, seed, [data / name for name in setting.train])
        images = open_generator(str(folder), str(model))
        write_record(measured, measure(images, data / setting.held_out.source, generation, judge, seed))
    figures = {key: tokenizer[key] for key in ("clean", "perturbed", "psnr")}
    return {"arm": arm, "seed": seed, **figures, **read_record(measured)}


def trained(generation: Generation, model: Path, seed: int, sources: Sequence[Path]) -> Path:
    """The folder of the generator of the tokens that the tokenizer in `model` makes of images; trained once."""
    tokens = token_set(model, sources, generation.images)
    folder = _folder(generation, model, seed)
    if not (folder / WEIGHTS).is_file():
        recipe = generation.recipe(tokens, model, seed)
        train_generator(recipe, folder, resume=(folder / CHECKPOINT).is_file())
    return folder


def token_set(model: Path, sources: Sequence[Path], count: int, name: str = "tokens") -> Path:
    """The set of tokens of the first `count` images, beside the tokenizer in `model` that makes them once."""
    path = model.parent / f"{name}-{count}.parquet"
    if not path.is_file():
        tokenize(model, sources, count, path)
    return path


def tokenize(folder: Path, sources: Sequence[Path], count: int, path: Path) -> None:
    """Write the tokens of the first `count` images as a set; what an interrupted run wrote is kept."""
    model = load_model(folder)
    writer = TokenSetWriter(
        path, name=model.name, fingerprint=model.fingerprint(), codebook=model.codebook, resume=True
    )
    for batch in _batches(sources, count):
        new = [record for record in batch if record.key not in writer.done]
        if new:
            with torch.inference_mode():
                tokens = model.encode(_pixels(new))
            sizes = [(record.width, record.height) for record in new]
            writer.append([record.key for record in new], tokens, sizes, classes=[record.label for record in new])
    writer.finish()


def measure(
    images: ImageGenerator, source: Path, generation: Generation, judge: pairs.Judge, seed: int
) -> dict[str, object]:
    """The Fréchet distance of samples, the same draws for both arms of a seed, and the cross-entropy of tokens."""
    result = evaluate_generator(
        images,
        source,
        batch_size=DRAWN,
        limit=generation.samples,
        names=["fd"],
        distances=FeatureDistances(judge.features),
        seed=seed * generation.samples,
        options=generation.drawing,
    )
    (distance,) = (found.on(reference=source.name) for found in result.measurements)
    return {
        "gfd": distance.value,
        "nats": cross_entropy(images, source, generation.probed),
        "protocol": distance.protocol.describe(),
        "environment": environment(torch.device("cpu")),
    }


@torch.inference_mode()
def cross_entropy(images: ImageGenerator, source: Path, count: int) -> float:
    """Nats a token that the generator has to predict, of the first `count` images and given their classes.

    Those are all tokens, each given the tokens before; or masked ones given the others, with masks drawn by one seed.
    """
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for batch in _batches([source], count):
            labels = torch.tensor([record.label for record in batch])
            terms = images.generator.eval().loss(images.tokenizer.encode(_pixels(batch)), labels)
            losses += [float(terms["cross_entropy"])] * len(batch)
    return math.fsum(losses) / len(losses)


def summary(runs: Sequence[Record]) -> dict[str, Interval]:
    """Intervals over seeds of each figure of each arm, and of the difference, robust less plain of the same seed."""
    arms = {arm: [found for found in runs if found["arm"] == arm] for arm in ARMS}
    found = {}
    for figure in FIGURES:
        for arm, lines in arms.items():
            found[f"{figure}, {arm}"] = interval([line[figure] for line in lines])
        both = zip(arms["plain"], arms["robust"], strict=True)
        found[f"{figure}, difference"] = interval([robust[figure] - plain[figure] for plain, robust in both])
    return found


def table_of(record: Record) -> str:
    """The table that the docs show."""
    found = summary(record["runs"])
    rows = []
    for figure, (words, form) in FIGURES.items():
        arms = [found[f"{figure}, {arm}"].show(form) for arm in ARMS]
        difference = found[f"{figure}, difference"]
        change = difference.show(f"+{form}").replace("-", "−")
        rows.append((words, *arms, change, f"below 0: {verdict(difference)}" if figure == "gfd" else ""))
    return table((record["title"], "plain", "robust", "difference", "asked for"), rows)


def verdict(difference: Interval) -> str:
    """Whether a difference that is to be below 0 is, and whether its interval leaves that open."""
    if difference.count < 2:
        return f"{'met' if difference.mean < 0 else 'not met'} by one seed"
    noise = ", within noise" if abs(difference.mean) <= difference.half else ""
    return f"{'met' if difference.mean < 0 else 'not met'}{noise}"


def _folder(generation: Generation, model: Path, seed: int) -> Path:
    """Beside the tokenizer in `model`, named by what was set."""
    recipe = generation.recipe(Path(), Path(), seed)
    return model.parent / f"generator-{digest([_text(recipe), str(generation.images)])}"


def _batches(sources: Sequence[Path], count: int) -> Iterator[list[ImageRecord]]:
    """The first `count` images of sets, in their order."""
    records = islice(open_images(list(sources)), count)
    while batch := list(islice(records, BATCH)):
        yield batch


def _pixels(records: Sequence[ImageRecord]) -> Tensor:
    """Images of one size as (B, 3, S, S)."""
    return from_uint8(np.stack([record.image for record in records]))


def _text(recipe: GeneratorRecipe) -> str:
    """What was set, without the places of files."""
    return recipe.model_dump_json(exclude={"tokens", "tokenizer"}, exclude_unset=True)


if __name__ == "__main__":
    main()
