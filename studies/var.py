"""What each scale of VAR's tokens adds, and what its few passes save (arXiv 2404.02905).

`python -m studies.var --data FOLDER` trains small tokenizers, one with a pyramid of token maps and one with the finest
map alone, of as many codes. Asked for: held-out PSNR of what is decoded after each scale rises with every scale, and
at the last it is above that of the single map. Then it times samples of a VAR, which takes a pass a scale, beside
those of a raster transformer of the same width and depth, which takes a pass a token.

Runs and figures are kept in the work folder. Legend: S pixels a side, n images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from studies.common import Record, interval, options, parse, publish, table
from studies.latents import SIDE, TEST, images
from studies.measure import BATCH, HeldOut, load_model
from studies.runs import kept, trained_tokenizer
from zellige.core.generator import Generator
from zellige.core.pixels import from_uint8
from zellige.core.registry import build
from zellige.evaluate.environment import environment, hardware
from zellige.metrics import PSNR, CodebookUsage
from zellige.systems.var_vq import SCALES
from zellige.train.recipe import Recipe

NAME = "var"
ARMS = {"pyramid": (1, 2, 3, 4), "single map": (4,)}
"""Sides of the token maps of each tokenizer."""


@dataclass(frozen=True)
class Setting:
    """What is trained and how it is judged.

    Attributes:
        channels: of the first level of encoder and decoder.
        codes: of the one codebook that all maps of a tokenizer share.
        steps: of training, each of ``batch_size`` images.
        held_out: images that are reconstructed.
        width: of the transformers that are timed, of ``depth`` blocks, with ``drawn`` samples at a time.
        finest: sides of the finest map for which they are timed.
    """

    channels: int = 32
    codes: int = 512
    steps: int = 250
    batch_size: int = 16
    held_out: int = 1000
    width: int = 256
    depth: int = 6
    drawn: int = 8
    finest: tuple[int, ...] = (4, 16)

    def recipe(self, data: Path, arm: str, seed: int) -> Recipe:
        """The training of one tokenizer."""
        network = {"channels": self.channels, "multipliers": [1, 2, 2], "patch": 2, "norm": "channel"}
        depth = {"blocks": 1, "decoder_blocks": 1, "middle_blocks": 1, "attention": True}
        codes = {"codes": self.codes, "scales": list(ARMS[arm]), "blends": 4}
        return Recipe.model_validate(
            {
                "tokenizer": "var-vq/256",
                "config": network | depth | {"latent": 32, "dim": 16, "quantizer_settings": codes},
                "data": images(data),
                "optimizer": {"lr": 2e-3, "warmup": min(50, self.steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": 50,
                "checkpoint_every": 200,
                "sample_every": 0,
            }
        )


QUICK = Setting(channels=16, codes=16, steps=2, batch_size=4, held_out=8, width=32, depth=1, drawn=1, finest=(4,))
"""The same in seconds, to see that everything runs; its figures say nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and tables."""
    parser = options(NAME, str(__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=2)
    wanted = parse(parser, arguments)
    setting = QUICK if wanted.scale == "quick" else Setting()
    record = study(setting, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, f"{quality_table(record['runs'])}\n\n{speed_table(record['speed'])}", wanted.output)


def study(setting: Setting, seeds: int, data: Path, work: Path) -> Record:
    """Tokenizers of both kinds with each seed, and the times of both generators."""
    source = HeldOut(str(data / TEST), setting.held_out, crops=1, side=SIDE).load()
    runs = []
    for seed in range(seeds):
        for arm in ARMS:
            folder = trained_tokenizer(setting.recipe(data, arm, seed), work, arm.replace(" ", "-"))
            path = folder / f"measured-{setting.held_out}.json"
            figures = kept(path, lambda: reconstructed(load_model(folder), source))  # noqa: B023
            runs.append({"arm": arm, "seed": seed, **figures})
            print(f"{arm}, seed {seed}: {figures}", flush=True)
    return {
        "study": NAME,
        "paper": "arXiv 2404.02905",
        "setting": vars(setting),
        "runs": runs,
        "speed": [both_times(setting, side) for side in setting.finest],
        "environment": environment(torch.device("cpu")),
    }


@torch.inference_mode()
def reconstructed(tokenizer: Any, images: np.ndarray) -> Record:
    """PSNR of uint8 images (n, S, S, 3) decoded after each scale, dB, and the share of the codes that occur."""
    psnr, usage = [PSNR() for _ in tokenizer.quantizer.scales], CodebookUsage(tokenizer.codebook)
    for start in range(0, len(images), BATCH):
        x = from_uint8(images[start : start + BATCH])
        tokens = tokenizer.encode(x)
        usage.update(tokens)
        for metric, partial in zip(psnr, tokenizer.quantizer.partial_sums(tokens.ids), strict=True):
            metric.update(x, tokenizer.pixels(partial, tokens.layout[-1]).clamp(-1, 1))
    used = sum(len(counts) for counts in usage.frequencies()) / sum(tokenizer.codebook)
    return {"psnr": [metric.compute()[0].value for metric in psnr], "used": used}


def both_times(setting: Setting, side: int) -> Record:
    """Seconds of a sample of both generators, untrained ones: weights do not matter to the time."""
    scales = tuple((n, n) for n in SCALES if n <= side)
    size = {"dim": setting.width, "depth": setting.depth, "heads": 4, "codebook": (setting.codes,), "classes": 10}
    var = build("var/small", **size, layout=scales)
    raster = build("llamagen/small", **size, layout=((side, side),))
    tokens = {"var": sum(n * m for n, m in scales), "raster": side * side}
    seconds = {key: _seconds(model, setting.drawn) for key, model in (("var", var), ("raster", raster))}
    return {
        "side": side,
        "tokens": tokens,
        "passes": {"var": len(scales), "raster": side * side},
        "seconds": seconds,
        "drawn": setting.drawn,
        "hardware": hardware(torch.device("cpu")),
    }


def _seconds(model: Any, count: int) -> float:
    """Of a sample, drawn with others: the fastest of three times."""
    assert isinstance(model, Generator)
    found = []
    for _ in range(3):
        start = time.perf_counter()
        model.sample(num=count, seed=0, guidance=1.0)
        found.append(time.perf_counter() - start)
    return min(found) / count


def quality_table(runs: Sequence[Record]) -> str:
    """PSNR after each scale; whether it rises, and whether it ends above the single map."""
    arms = {arm: [found for found in runs if found["arm"] == arm] for arm in ARMS}
    rows, previous = [], None
    for number, side in enumerate(ARMS["pyramid"]):
        values = [found["psnr"][number] for found in arms["pyramid"]]
        asked = ""
        if previous is not None:
            rises = all(now > before for before, now in zip(previous, values, strict=True))
            asked = f"above the row before: {'met' if rises else 'not met'}"
        rows.append((f"pyramid, after {side}×{side}", interval(values).show(".2f", " dB"), asked))
        previous = values
    single = [found["psnr"][-1] for found in arms["single map"]]
    more = interval([ours["psnr"][-1] - value for ours, value in zip(arms["pyramid"], single, strict=True)])
    rows.append(("single map, 4×4", interval(single).show(".2f", " dB"), ""))
    shown = more.show("+.2f", " dB").replace("-", "−")
    rows.append(("pyramid less single map", shown, f"above 0: {'met' if more.mean > 0 else 'not met'}"))
    used = [f"{interval([100 * found['used'] for found in arms[arm]]).mean:.0f} %" for arm in ARMS]
    rows.append(("codes in use, pyramid and single map", " and ".join(used), ""))
    return table(("CIFAR-10, 32 px", "PSNR", "asked for"), rows)


def speed_table(speed: Sequence[Record]) -> str:
    """A line a size of the finest map."""
    rows = []
    for found in speed:
        per = {key: found["tokens"][key] / found["seconds"][key] for key in ("var", "raster")}
        cells = [
            f"{found['tokens'][key]} in {found['passes'][key]}: {1000 * found['seconds'][key]:.1f} ms, "
            f"{per[key]:,.0f} tokens/s"
            for key in ("var", "raster")
        ]
        ratios = [f"{per['var'] / per['raster']:.1f}", f"{found['seconds']['raster'] / found['seconds']['var']:.1f}"]
        rows.append((f"{found['side']}×{found['side']}", *cells, *ratios))
    head = ("finest map", "VAR: tokens in passes", "raster: tokens in passes", "ratio of tokens/s", "of images/s")
    return table(head, rows)


if __name__ == "__main__":
    main()
