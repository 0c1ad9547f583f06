"""Windows of tokens in one position of a transformer: Token-Shuffle (arXiv 2504.17789).

`python -m studies.token_shuffle --data FOLDER` trains the same small transformer on CIFAR-10 as 16×16 tokens of a small
VQ tokenizer, one for 2×2 pixels: token by token (s = 1), with windows of 2×2 tokens for as many images, and for as
long. Asked for: windows train and draw twice as fast or faster; in equal time they are no more than 5 % worse in bits a
held-out token; and windows whose embeddings are averaged are worse than concatenated ones. A tokenizer with a token for
4×4 pixels, as many as there are windows, shows by its PSNR what the finer tokens are for.

On k-means patches of 4×4 pixels embeddings then pass through fewer and fewer channels. Asked for: down to an eighth of
them bits rise by 2 % at most, and beyond they rise.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from studies.common import Record, digest, interval, options, parse, publish, table
from studies.curves import Learned, learn
from studies.measure import load_model, psnr
from studies.patches import PatchCodes
from studies.robusttok.generation import tokenize
from studies.robusttok.settings import SETTINGS
from studies.runs import kept, trained_tokenizer
from zellige.codec import TokenSet
from zellige.core.generator import Generator
from zellige.core.hub import WEIGHTS, load
from zellige.evaluate.environment import hardware
from zellige.train.generator import GeneratorRun
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import Recipe

NAME = "token_shuffle"
TRAIN, TEST = "cifar10-train.parquet", "cifar10-test.parquet"
SIDES = (2, 4)
"""Pixels a side that a token stands for."""
PLAIN, WINDOWS, LONGER, MEAN = "s = 1", "s = 2", "s = 2, as long", "s = 2, averaged"
CONFIGS: dict[str, dict[str, Any]] = {
    PLAIN: {"side": 1},
    WINDOWS: {"side": 2},
    LONGER: {"side": 2},
    MEAN: {"side": 2, "fusion": "mean"},
}
FASTER, WORSE, FLAT = 2.0, 0.05, 0.02
SHARES = (1, 2, 4, 8, 16, 64)
"""Channels over rank of the embeddings."""
KNEE = 8
"""Down to this share embeddings are to lose nothing."""
REPEATS = 4


@dataclass(frozen=True)
class Scale:
    """What is trained and how it is judged.

    Attributes:
        images: of the training set, from its start; ``held_out`` of the test set.
        codes: K of both tokenizers, of ``tokenizer_channels``, which ``tokenizer_steps`` train.
        patch_codes: of the patches.
        steps: of training, each of ``batch_size`` images.
        probe_steps: of training for each rank of the embeddings.
        dim: channels of the transformer, of ``depth`` blocks with ``heads`` of attention and ``hidden`` in their MLP.
        drawn: samples at a time where drawing is timed.
    """

    images: int = 50_000
    held_out: int = 128
    codes: int = 512
    tokenizer_steps: int = 600
    tokenizer_channels: int = 32
    patch_codes: int = 256
    steps: int = 1600
    batch_size: int = 8
    probe_steps: int = 600
    dim: int = 128
    depth: int = 4
    heads: int = 4
    hidden: int = 384
    drawn: int = 8

    def tokenizer(self, data: Path, side: int) -> Recipe:
        """The training of the tokenizer with a token for `side` × `side` pixels."""
        network = {"channels": self.tokenizer_channels, "codes": self.codes, "dim": 8, "steps": self.tokenizer_steps}
        return replace(SETTINGS["cifar10"], stride=side, **network).recipe(data, "plain", 0)

    def recipe(self, tokens: TokenSet, config: dict[str, Any], steps: int, seed: int) -> GeneratorRecipe:
        """The training of one transformer, conditioned on classes."""
        network = {"dim": self.dim, "depth": self.depth, "heads": self.heads, "hidden": self.hidden, "dropout": 0.0}
        return GeneratorRecipe.model_validate(
            {
                "generator": "token-shuffle/small",
                "config": network | config,
                "tokens": str(tokens.path),
                "optimizer": {"lr": 2e-3, "weight_decay": 0.05, "warmup": min(50, steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": max(1, steps // 4),
                "checkpoint_every": max(1, steps // 2),
                "sample_every": 0,
            }
        )


QUICK = Scale(
    images=16,
    held_out=8,
    codes=32,
    tokenizer_steps=2,
    tokenizer_channels=16,
    patch_codes=32,
    steps=4,
    batch_size=4,
    probe_steps=2,
    dim=64,
    depth=1,
    heads=2,
    hidden=16,
    drawn=1,
)
"""The same in seconds, to see that everything runs; its figures say nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and tables."""
    parser = options(NAME, str(__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=1)
    wanted = parse(parser, arguments)
    scale = QUICK if wanted.scale == "quick" else Scale()
    record = study(scale, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, "\n\n".join((windows_table(record), tokens_table(record), probe_table(record))), wanted.output)


def study(scale: Scale, seeds: int, data: Path, work: Path) -> Record:
    """The record of all runs."""
    train, test = data / TRAIN, data / TEST
    folders = {side: trained_tokenizer(scale.tokenizer(data, side), work, f"tokens-{side}") for side in SIDES}
    counts = {train: scale.images, test: scale.held_out}
    fine = [_token_set(folders[SIDES[0]], source, count) for source, count in counts.items()]
    patches = PatchCodes.of(train, SIDES[1], scale.patch_codes)
    coarse = [
        patches.token_set(source, count, work / f"{source.stem}-{SIDES[1]}-{scale.patch_codes}-{count}.parquet")
        for source, count in counts.items()
    ]
    pace = kept(work / f"training-{digest([repr(scale)])}.json", lambda: training_pace(scale, fine[0], work))
    longer = round(scale.steps * pace[WINDOWS] / pace[PLAIN])
    runs, probes = [], []
    models: dict[str, Learned] = {}
    for seed in range(seeds):
        for arm, config in CONFIGS.items():
            steps = longer if arm == LONGER else scale.steps
            learned = learn(scale.recipe(fine[0], config, steps, seed), work, f"windows-{config['side']}", fine[1])
            models[arm] = models.get(arm, learned)
            runs.append({"arm": arm, "seed": seed, "images": steps * scale.batch_size, "bits": _bits(learned)})
            print(f"{arm}, seed {seed}: {_bits(learned):.3f} bits", flush=True)
        for share in SHARES:
            config = {"side": 1, "embedding_rank": max(1, scale.dim // share)}
            learned = learn(scale.recipe(coarse[0], config, scale.probe_steps, seed), work, "rank", coarse[1])
            probes.append({"share": share, "rank": config["embedding_rank"], "seed": seed, "bits": _bits(learned)})
            print(f"rank {config['embedding_rank']}, seed {seed}: {_bits(learned):.3f} bits", flush=True)
    drawing = kept(work / f"drawing-{digest([repr(scale)])}.json", lambda: drawing_pace(scale, models))
    return {
        "study": NAME,
        "paper": "arXiv 2504.17789",
        "title": "CIFAR-10, 32 px",
        "scale": vars(scale),
        "recipe": json.loads(
            scale.recipe(fine[0], CONFIGS[WINDOWS], scale.steps, 0).model_dump_json(
                exclude={"tokens"}, exclude_unset=True
            )
        ),
        "pace": {"training": pace, "drawing": drawing},
        "psnr": {str(side): psnr(load_model(folder), test, scale.held_out) for side, folder in folders.items()},
        "runs": runs,
        "probe": probes,
        "hardware": hardware(torch.device("cpu")),
    }


def _token_set(tokenizer: Path, source: Path, count: int) -> TokenSet:
    """The tokens of the first `count` images of a set, kept beside their tokenizer."""
    path = tokenizer / f"{source.stem}-{count}.parquet"
    if not path.is_file():
        tokenize(tokenizer, [source], count, path)
    return TokenSet(path)


def training_pace(scale: Scale, tokens: TokenSet, work: Path) -> dict[str, float]:
    """Images a second in training, of s = 1 and s = 2, whose steps take turns."""
    jobs: dict[str, Callable[[], object]] = {}
    for arm in (PLAIN, WINDOWS):
        run = GeneratorRun(scale.recipe(tokens, CONFIGS[arm], scale.steps, 0), work / f"pace-{arm[-1]}", resume=False)
        run.model.train()
        items = [next(iter(run.stream))]
        jobs[arm] = partial(run.take_step, items)
    return _pace(jobs, scale.batch_size)


def drawing_pace(scale: Scale, models: dict[str, Learned]) -> dict[str, float]:
    """Images a second in drawing, unguided, of s = 1 and s = 2, whose batches take turns."""
    jobs: dict[str, Callable[[], object]] = {}
    classes = torch.arange(scale.drawn) % 10
    for arm in (PLAIN, WINDOWS):
        model = load(str(models[arm].folder / WEIGHTS), kind=Generator, quiet=True)  # type: ignore[type-abstract]
        jobs[arm] = partial(model.sample, classes, seed=0, guidance=1.0)
    return _pace(jobs, scale.drawn)


def _pace(jobs: dict[str, Callable[[], object]], images: int) -> dict[str, float]:
    """Images a second of jobs for as many images each, at their fastest; the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(1 + REPEATS):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - begun)
    return {name: images / min(found[1:]) for name, found in seconds.items()}


def windows_table(record: Record) -> str:
    """A row for each of the arms."""
    paces, rows = record["pace"], []
    bits = {arm: [found["bits"] for found in record["runs"] if found["arm"] == arm] for arm in CONFIGS}
    mean = {arm: interval(values).mean for arm, values in bits.items()}
    times = {kind: pace[WINDOWS] / pace[PLAIN] for kind, pace in paces.items()}
    change = mean[LONGER] / mean[PLAIN] - 1
    asked = {
        PLAIN: "",
        WINDOWS: f"{FASTER:g}× as fast or faster: {times['training']:.1f}× and {times['drawing']:.1f}×, "
        f"{_met(min(times.values()) >= FASTER)}",
        LONGER: f"bits +{WORSE:.0%} at most: {change:+.1%}, {_met(change <= WORSE)}",
        MEAN: f"bits above s = 2: {_met(mean[MEAN] > mean[WINDOWS])}",
    }
    for arm in CONFIGS:
        images = next(found["images"] for found in record["runs"] if found["arm"] == arm)
        speeds = [f"{pace[arm]:.1f}" if arm in pace else "" for pace in paces.values()]
        rows.append((arm, f"{images:,}", interval(bits[arm]).show(".3f"), *speeds, asked[arm].replace("-", "−")))
    head = ("2×2 pixels a token", "images seen", "bits a token", "images/s, training", "images/s, drawing", "asked for")
    return table(head, rows)


def tokens_table(record: Record) -> str:
    """What both sizes of patches keep."""
    side = 32
    rows = [
        (f"{size}×{size} pixels", f"{(side // int(size)) ** 2}", f"{value:.2f} dB")
        for size, value in record["psnr"].items()
    ]
    return table(("a token", "tokens an image", "PSNR"), rows)


def probe_table(record: Record) -> str:
    """Bits by the rank of the embeddings, and the change from full rank."""
    bits = {
        share: interval([found["bits"] for found in record["probe"] if found["share"] == share]) for share in SHARES
    }
    ranks = [str(next(found["rank"] for found in record["probe"] if found["share"] == share)) for share in SHARES]
    change = {share: found.mean / bits[1].mean - 1 for share, found in bits.items()}
    flat = max(change[share] for share in SHARES if share <= KNEE) <= FLAT
    rises = change[SHARES[-1]] > max(FLAT, change[KNEE])
    rows = [
        ("bits a token", *(found.show(".3f") for found in bits.values()), ""),
        (
            "change",
            *(f"{value:+.1%}".replace("-", "−") for value in change.values()),
            f"+{FLAT:.0%} at most to rank {ranks[SHARES.index(KNEE)]}: {_met(flat)}; then more: {_met(rises)}",
        ),
    ]
    return table(("rank of the embeddings", *ranks, "asked for"), rows)


def _bits(learned: Learned) -> float:
    return learned.nats / math.log(2)


def _met(holds: bool) -> str:
    return "met" if holds else "not met"


if __name__ == "__main__":
    main()
