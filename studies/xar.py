"""What noise in the context buys xAR, and what its units cost (arXiv 2502.20388).

`python -m studies.xar --data FOLDER` trains small xAR models on the latents of a small autoencoder, with noise in the
units before (noisy context learning) and with clean ones (teacher forcing), and asks how the error of the last cell
grows when the cells before it are wrong by σ standard deviations and are said to be clean. Asked for: it grows less
with noisy context, at σ of 0.2 and 0.3. Then a model of each kind of unit, its errors and the time of a sample.

Runs and figures are kept in the work folder. Legend: n images, L tokens of a sequence, K units, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from studies.common import Interval, Record, interval, options, parse, publish, table
from studies.latents import CLASSES, TEST, Autoencoder, LatentSet, encode_set, images
from studies.measure import load_model, network
from studies.runs import kept, trained_generator, trained_tokenizer
from zellige.core.hub import load
from zellige.evaluate.environment import environment
from zellige.evaluate.generation import evaluate_generator
from zellige.generate.cells import UNITS
from zellige.generate.images import open_generator
from zellige.metrics.distribution import FeatureDistances
from zellige.nn.precision import fast_dtype
from zellige.train.generator_recipe import GeneratorRecipe

NAME = "xar"
ARMS = {"noisy context": True, "teacher forcing": False}
SIGMAS = (0.0, 0.1, 0.2, 0.3, 0.5)
"""Standard deviations of the error in the context, as shares of those of the latents."""
JUDGED = (0.2, 0.3)


@dataclass(frozen=True)
class Setting:
    """What is trained and how it is judged.

    Attributes:
        steps: of the two arms; the models of units are trained for ``unit_steps``.
        dim: of the transformer, of ``depths`` blocks with ``heads`` of attention.
        held_out: images whose latents are denoised.
        samples: drawn of each model of the arms, in ``draw_steps`` of the ordinary equation, which needs fewer than the
            stochastic one, and compared with as many images.
        timed: samples that are drawn together when units are timed, with each number of ``timed_steps``.
    """

    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    steps: int = 450
    unit_steps: int = 12
    batch_size: int = 12
    dim: int = 192
    depths: tuple[int, int] = (3, 3)
    heads: tuple[int, int] = (6, 6)
    held_out: int = 512
    samples: int = 1000
    draw_steps: int = 6
    timed: int = 8
    timed_steps: tuple[int, int] = (2, 4)

    def recipe(self, data: Path, tokenizer: Path, steps: int, seed: int, **config: Any) -> GeneratorRecipe:
        """The training of one model."""
        size = {"classes": CLASSES, "dim": self.dim, "depths": self.depths, "heads": self.heads, "dropout": 0.0}
        return GeneratorRecipe.model_validate(
            {
                "generator": "xar/small",
                "config": size | config,
                "tokenizer": str(tokenizer),
                "data": images(data),
                "optimizer": {
                    "lr": 1e-3,
                    "betas": [0.9, 0.96],
                    "weight_decay": 0.02,
                    "warmup": min(50, steps // 4),
                    "final": 0.02,
                },
                "batch_size": self.batch_size,
                "steps": steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": 50,
                "checkpoint_every": 100,
                "sample_every": 0,
            }
        )


QUICK = Setting(
    autoencoder=Autoencoder(dim=4, channels=16, steps=2, batch_size=4),
    steps=2,
    unit_steps=1,
    batch_size=4,
    dim=16,
    depths=(1, 1),
    heads=(2, 2),
    held_out=8,
    samples=8,
    draw_steps=2,
    timed=1,
    timed_steps=(1, 2),
)
"""The same in seconds, to see that everything runs; its figures say nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and tables."""
    parser = options(NAME, str(__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=2)
    wanted = parse(parser, arguments)
    setting = QUICK if wanted.scale == "quick" else Setting()
    record = study(setting, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, f"{exposure_table(record['runs'])}\n\n{unit_table(record['units'])}", wanted.output)


def study(setting: Setting, seeds: int, data: Path, work: Path) -> Record:
    """Both arms with each seed, and a model of each kind of unit."""
    tokenizer = trained_tokenizer(setting.autoencoder.recipe(data), work, "autoencoder")
    held_out = encode_set(load_model(tokenizer), data / TEST, setting.held_out)
    runs = [run(setting, arm, seed, data, tokenizer, held_out) for seed in range(seeds) for arm in ARMS]
    return {
        "study": NAME,
        "paper": "arXiv 2502.20388",
        "setting": vars(setting) | {"autoencoder": vars(setting.autoencoder)},
        "autoencoder": {"psnr": held_out.psnr, "deviation": float(held_out.latents.std())},
        "runs": runs,
        "units": [of_unit(setting, kind, data, tokenizer, held_out) for kind in UNITS],
        "environment": environment(torch.device("cpu")),
    }


def run(setting: Setting, arm: str, seed: int, data: Path, tokenizer: Path, held_out: LatentSet) -> Record:
    """Train one model of an arm and judge it: its errors under each σ, and the distance of its samples."""
    recipe = setting.recipe(data, tokenizer, setting.steps, seed, noisy_context=ARMS[arm])
    folder = trained_generator(recipe, tokenizer, arm.replace(" ", "-"))
    errors = kept(folder / f"errors-{setting.held_out}.json", lambda: exposed(folder, held_out))

    def drawn() -> Record:
        result = evaluate_generator(
            open_generator(str(folder), precision=fast_dtype(torch.device("cpu"))),
            data / TEST,
            batch_size=100,
            limit=setting.samples,
            names=["fd"],
            distances=FeatureDistances(network()),
            seed=seed * setting.samples,
            options={"guidance": 1.0, "steps": setting.draw_steps, "stochastic": False, "grid": "uniform"},
        )
        (distance,) = (found.on(reference=TEST) for found in result.measurements)
        return {"distance": distance.value, "protocol": distance.protocol.describe()}

    distance = kept(folder / f"distance-{setting.samples}-{setting.draw_steps}.json", drawn)
    print(f"{arm}, seed {seed}: {errors['errors']}, distance {distance['distance']:.1f}", flush=True)
    return {"arm": arm, "seed": seed, **errors, **distance}


def of_unit(setting: Setting, kind: str, data: Path, tokenizer: Path, held_out: LatentSet) -> Record:
    """Train a model of one kind of unit and judge it: the error of each unit, and the time of a sample."""
    recipe = setting.recipe(data, tokenizer, setting.unit_steps, 0, unit=kind)
    folder = trained_generator(recipe, tokenizer, kind)
    return {"unit": kind, **kept(folder / "measured.json", lambda: unit_figures(folder, setting, held_out))}


@torch.inference_mode()
def exposed(folder: Path, held_out: LatentSet) -> Record:
    """Squared error of the velocity of the last cell, by σ; noise, times and errors are the same for all σ."""
    model: Any = load(str(folder)).eval()
    generator = torch.Generator().manual_seed(0)
    x = model.units.split(held_out.latents)
    noise, wrong = (torch.randn(x.shape, generator=generator) for _ in range(2))
    times = torch.randn(len(x), generator=generator).sigmoid()
    last, deviation = model.units.sizes[-1], x.std((0, 1))
    sums = dict.fromkeys(SIGMAS, 0.0)
    for _, labels, clean, eps, error, t in held_out.batches(x, noise, wrong, times):
        shown = torch.zeros(len(clean), len(model.units.sizes))
        shown[:, -1] = t
        at = t[:, None, None]
        current = (1 - at) * clean[:, -last:] + at * eps[:, -last:]
        for sigma in SIGMAS:
            context = clean[:, :-last] + sigma * deviation * error[:, :-last]
            velocity = model.velocity(torch.cat([context, current], dim=1), shown, labels)[:, -last:]
            sums[sigma] += float((velocity - (eps - clean)[:, -last:]).square().mean((1, 2)).sum())
    return {"errors": {f"{sigma:g}": total / len(x) for sigma, total in sums.items()}}


@torch.inference_mode()
def unit_figures(folder: Path, setting: Setting, held_out: LatentSet) -> Record:
    """Squared error of the velocity of each unit, all noisy at times of their own; seconds and passes of a sample."""
    model: Any = load(str(folder)).eval()
    generator = torch.Generator().manual_seed(0)
    sizes = model.units.sizes
    x = model.units.split(held_out.latents)
    noise, times = torch.randn(x.shape, generator=generator), torch.randn(len(x), len(sizes), generator=generator)
    total = torch.zeros(x.shape[1])
    for _, labels, clean, eps, drawn in held_out.batches(x, noise, times):
        t = model.units.repeat(drawn.sigmoid())[..., None]
        velocity = model.velocity((1 - t) * clean + t * eps, drawn.sigmoid(), labels)
        total += (velocity - (eps - clean)).square().mean(-1).sum(0)
    errors = [float(part.mean()) / len(x) for part in total.split(list(sizes))]
    seconds = {str(steps): _seconds(model, setting.timed, steps) for steps in setting.timed_steps}
    passes = {str(steps): len(sizes) * steps + len(sizes) - 1 for steps in setting.timed_steps}
    return {"units": len(sizes), "tokens": sum(sizes), "errors": errors, "passes": passes, "seconds": seconds}


def _seconds(model: Any, count: int, steps: int) -> float:
    """Of a sample, drawn with `count` others: the faster of two times."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        model.sample(num=count, seed=0, guidance=1.0, steps=steps)
        found.append(time.perf_counter() - start)
    return min(found) / count


def exposure_table(runs: Sequence[Record]) -> str:
    """Errors and their growth by σ, and the distance of samples: both arms side by side."""
    rows = []
    for sigma in (f"{value:g}" for value in SIGMAS):
        levels = {arm: [found["errors"][sigma] for found in runs if found["arm"] == arm] for arm in ARMS}
        grown = {
            arm: [found["errors"][sigma] - found["errors"]["0"] for found in runs if found["arm"] == arm]
            for arm in ARMS
        }
        shown = [f"{_signed(interval(grown[arm]))} ({interval(levels[arm]).mean:.4f})" for arm in ARMS]
        noisy, clean = grown.values()
        difference = interval([a - b for a, b in zip(noisy, clean, strict=True)])
        asked = ""
        if float(sigma) in JUDGED:
            asked = "below 0: " + ("met" if difference.mean < 0 else "not met")
        rows.append((f"σ = {sigma}: growth of the error (error)", *shown, _signed(difference), asked))
    distances = {arm: [found["distance"] for found in runs if found["arm"] == arm] for arm in ARMS}
    difference = interval([a - b for a, b in zip(*distances.values(), strict=True)])
    shown = [interval(distances[arm]).show(".1f") for arm in ARMS]
    rows.append(("distance of samples", *shown, difference.show("+.1f").replace("-", "−"), ""))
    return table(("CIFAR-10, 32 px", *ARMS, "difference", "asked for"), rows)


def unit_table(units: Sequence[Record]) -> str:
    """A line a kind of unit."""
    steps = list(units[0]["passes"])
    rows = []
    for found in units:
        errors = found["errors"]
        cost = [f"{found['passes'][n]}: {1000 * found['seconds'][n]:.1f} ms" for n in steps]
        rows.append((found["unit"], str(found["units"]), f"{errors[0]:.3f}", f"{errors[-1]:.3f}", *cost))
    costs = [f"passes: time of a sample, {n} steps" for n in steps]
    return table(("unit", "K", "error of the first", "of the last", *costs), rows)


def _signed(found: Interval) -> str:
    return found.show("+.4f").replace("-", "−")


if __name__ == "__main__":
    main()
