"""What FlowAR's flow head makes of its condition, and of latents of several autoencoders (arXiv 2412.15205).

`python -m studies.flowar --data FOLDER` trains small FlowAR models on the latents of small autoencoders. Asked for, of
the squared error of the velocity at the finest scale on held-out images: with the conditions of the image itself it is
10 % or more below that with the conditions of another image; and it is below that of a model whose flow head is told
the mean of the conditions at every token. And of the loss over all scales: it is below that of predicting the mean
velocity, on the latents of two autoencoders.

Runs and figures are kept in the work folder. Legend: n images, N tokens of the finest scale, C channels of a condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studies.common import Interval, Record, interval, options, parse, publish, table
from studies.latents import CLASSES, TEST, Autoencoder, LatentSet, encode_set, images
from studies.measure import load_model
from studies.runs import kept, trained_generator, trained_tokenizer
from zellige.core.generator import Generator
from zellige.core.hub import load
from zellige.evaluate.environment import environment
from zellige.train.generator_recipe import GeneratorRecipe

NAME = "flowar"
FALLS = 0.10
"""Share by which the error with the true conditions is to be below that with those of another image."""
ARMS = ("spatial", "pooled")


@dataclass(frozen=True)
class Setting:
    """What is trained and how it is judged.

    Attributes:
        autoencoders: by name; both arms are trained on the latents of the first, one model on those of each other.
        steps: of training, each of ``batch_size`` images.
        dim: of the trunk, of ``depths`` blocks; ``head_width`` and ``head_depth`` are of the flow head.
        held_out: images whose latents are denoised, each at ``times`` drawn times.
    """

    autoencoders: dict[str, Autoencoder] = field(default_factory=dict)
    steps: int = 130
    batch_size: int = 8
    dim: int = 192
    depths: tuple[int, int] = (3, 3)
    heads: tuple[int, int] = (3, 3)
    head_width: int = 192
    head_depth: int = 3
    held_out: int = 512
    times: int = 4

    def recipe(self, data: Path, tokenizer: Path, seed: int) -> GeneratorRecipe:
        """The training of one model."""
        size = {"dim": self.dim, "depths": self.depths, "heads": self.heads, "head_width": self.head_width}
        return GeneratorRecipe.model_validate(
            {
                "generator": "flowar/small",
                "config": size | {"classes": CLASSES, "head_depth": self.head_depth, "dropout": 0.0},
                "tokenizer": str(tokenizer),
                "data": images(data),
                "optimizer": {"lr": 1e-3, "weight_decay": 0.02, "warmup": min(50, self.steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": 50,
                "checkpoint_every": 100,
                "sample_every": 0,
            }
        )


FULL = Setting({"16 channels": Autoencoder(dim=16), "4 channels": Autoencoder(dim=4, steps=200)})
QUICK = Setting(
    {str(dim): Autoencoder(dim=dim, channels=16, steps=2, batch_size=4) for dim in (4, 3)},
    steps=2,
    batch_size=4,
    dim=16,
    depths=(1, 1),
    heads=(2, 2),
    head_width=16,
    head_depth=1,
    held_out=8,
    times=1,
)
"""The same in seconds, to see that everything runs; its figures say nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and table."""
    parser = options(NAME, str(__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=1)
    wanted = parse(parser, arguments)
    setting = QUICK if wanted.scale == "quick" else FULL
    record = study(setting, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, table_of(record), wanted.output)


def study(setting: Setting, seeds: int, data: Path, work: Path) -> Record:
    """Both arms on the latents of the first autoencoder, and the first arm on those of the others."""
    runs, found = [], {}
    for number, (name, autoencoder) in enumerate(setting.autoencoders.items()):
        tokenizer = trained_tokenizer(autoencoder.recipe(data), work, "autoencoder")
        held_out = encode_set(load_model(tokenizer), data / TEST, setting.held_out)
        found[name] = {"psnr": held_out.psnr, "deviation": float(held_out.latents.std())}
        for seed in range(seeds):
            for arm in ARMS if number == 0 else ARMS[:1]:
                runs.append({"latents": name, **run(setting, arm, seed, data, tokenizer, held_out)})
                print(f"{name}, {arm}, seed {seed}: {runs[-1]}", flush=True)
    return {
        "study": NAME,
        "paper": "arXiv 2412.15205",
        "setting": vars(setting) | {"autoencoders": {key: vars(value) for key, value in setting.autoencoders.items()}},
        "autoencoders": found,
        "runs": runs,
        "environment": environment(torch.device("cpu")),
    }


def run(setting: Setting, arm: str, seed: int, data: Path, tokenizer: Path, held_out: LatentSet) -> Record:
    """Train one model and judge it."""
    change = pool if arm == "pooled" else None
    folder = trained_generator(setting.recipe(data, tokenizer, seed), tokenizer, arm, change)

    def measured() -> Record:
        model = load(str(folder), kind=Generator).eval()  # type: ignore[type-abstract]
        if change is not None:
            change(model)
        return judged(model, held_out, setting.times)

    return {"arm": arm, "seed": seed, **kept(folder / f"measured-{setting.held_out}-{setting.times}.json", measured)}


def pool(generator: Generator) -> None:
    """Tell the flow head the mean of the conditions of a scale at each of its tokens."""

    def average(head: nn.Module, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        x, times, condition, rotary = given
        return x, times, condition.mean(1, keepdim=True).expand_as(condition), rotary

    generator.get_submodule("head").register_forward_pre_hook(average)


@torch.inference_mode()
def judged(model: Any, held_out: LatentSet, draws: int) -> Record:
    """Errors of the velocity, the draws being the same for all models.

    ``finest`` is that at the finest scale, ``shuffled`` that with conditions of the next image of the batch; ``loss``
    sums all scales as in training, and ``mean`` does so for the best constant velocity of each token and channel.
    """
    generator = torch.Generator().manual_seed(0)
    sizes, finest = model.sizes, len(model.sizes) - 1
    sums = dict.fromkeys(("finest", "shuffled", "loss"), 0.0)
    for latents, labels in held_out.batches():
        targets = model.targets(latents)
        semantics = model.semantics(targets, labels).split(sizes, dim=1)
        for _ in range(draws):
            for index, (target, told) in enumerate(zip(targets, semantics, strict=True)):
                times = torch.rand(len(target), generator=generator)
                noise = torch.randn(target.shape, generator=generator)
                t = times[:, None, None]
                noisy, velocity = (1 - t) * target + t * noise, noise - target

                def error(condition: Tensor) -> float:
                    found = model.velocity(noisy, times, condition, index)  # noqa: B023
                    return float((found - velocity).square().mean((1, 2)).sum())  # noqa: B023

                found = error(told)
                sums["loss"] += found * sizes[index] / sizes[-1]
                if index == finest:
                    sums["finest"] += found
                    sums["shuffled"] += error(told.roll(1, 0))
    figures = {key: total / (draws * len(held_out.latents)) for key, total in sums.items()}
    spread = [1 + float(target.var(0, unbiased=False).mean()) for target in model.targets(held_out.latents)]
    return figures | {"mean": sum(value * size / sizes[-1] for value, size in zip(spread, sizes, strict=True))}


def table_of(record: Record) -> str:
    """What is asked for, and what was found."""
    runs, first = record["runs"], record["runs"][0]["latents"]

    def figures(latents: str, arm: str, key: str) -> list[float]:
        return [found[key] for found in runs if (found["latents"], found["arm"]) == (latents, arm)]

    own, other = (figures(first, "spatial", key) for key in ("finest", "shuffled"))
    falls = interval([100 * (a / b - 1) for a, b in zip(own, other, strict=True)])
    pooled = figures(first, "pooled", "finest")
    gain = interval([100 * (a / b - 1) for a, b in zip(own, pooled, strict=True)])
    rows = [
        _row("condition of the image, of another", own, other, falls, -100 * FALLS),
        _row("condition of each token, their mean", own, pooled, gain, 0.0),
    ]
    for latents in record["autoencoders"]:
        loss, mean = (figures(latents, "spatial", key) for key in ("loss", "mean"))
        change = interval([100 * (a / b - 1) for a, b in zip(loss, mean, strict=True)])
        rows.append(_row(f"loss on latents of {latents}, of the mean velocity", loss, mean, change, 0.0))
    return table(("CIFAR-10, 32 px", "FlowAR", "compared with", "change", "asked for"), rows)


def _row(words: str, ours: Sequence[float], theirs: Sequence[float], change: Interval, most: float) -> tuple[str, ...]:
    limit = f"at most −{-most:.0f} %" if most else "below 0"
    met = "met" if change.mean < most else "not met"
    shown = change.show("+.1f", " %").replace("-", "−")
    return words, interval(ours).show(".3f"), interval(theirs).show(".3f"), shown, f"{limit}: {met}"


if __name__ == "__main__":
    main()
