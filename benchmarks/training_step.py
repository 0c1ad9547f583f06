"""Row `step`: a training step of a recipe in bfloat16, with latent perturbation and without.

`step` takes robusttok/small; `step:RECIPE` any other. Data are drawn before; all else of a step is in it: losses,
optimizers, averaged weights.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Bench, Peer, require
from benchmarks.machine import Calibration
from zellige.train.recipe import load_recipe
from zellige.train.tokenizer import TokenizerRun

TECHNIQUE = "perturbation"
OVERHEAD = 0.05
"""Share of a step that the technique may cost."""


def run(bench: Bench, name: str = "robusttok/small") -> None:
    """Require that a neighbourhood of one code changes nothing, then compare; figures of speed are of our step."""
    recipe = load_recipe(name, [f"technique={TECHNIQUE}", "precision=bf16"])
    strength = recipe.techniques[TECHNIQUE]
    others = {key: settings for key, settings in recipe.techniques.items() if key != TECHNIQUE}
    with TemporaryDirectory() as folder:
        plain, still, robust = (
            TokenizerRun(recipe.model_copy(update={"techniques": techniques}), Path(folder), resume=False)
            for techniques in (others, {**others, TECHNIQUE: {**strength, "delta": 1}}, recipe.techniques)
        )
        batches = iter(plain.stream)
        crops = [next(batches) for _ in range(recipe.accumulate)]
        losses = [float(_step(side, crops)["loss"]) for side in (plain, still)]
        require(losses[0] == losses[1], f"without neighbours the loss is {losses[1]}, not {losses[0]}")
        flops = FlopCounterMode(display=False)
        with flops:
            _step(robust, crops)
        before = Calibration.measure()
        bench.compare(
            f"step of {name}, {recipe.accumulate * recipe.batch_size} crops of {recipe.data.crop}",
            ("with latent perturbation", lambda: _step(robust, crops)),
            [Peer("without", lambda: _step(plain, crops), target=1 - OVERHEAD)],
            equal="the loss, with one neighbour",
        )
        around = before, Calibration.measure()
        timing = bench.comparisons[-1]
        with torch.no_grad():
            tokens = plain.system(crops[0]).tokens.num_tokens * recipe.accumulate * recipe.batch_size
        rate = flops.get_total_flops() / timing.ours.median / 1e9
        peak = max(calibration.bfloat16 for calibration in around)
        bench.fact(timing.job, "tokens per second", f"{tokens / timing.ours.median:,.0f}", around=around)
        share = f"{rate / peak:.1%} ({rate:,.0f} of {peak:,.0f} GFLOP/s)"
        bench.fact(timing.job, "share of the rate of bfloat16 products", share, around=around)


def _step(side: TokenizerRun, crops: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The first step of a run, again and again: where annealing has not begun."""
    side.step = 0
    side.model.train()
    return side.take_step(crops)[0]
