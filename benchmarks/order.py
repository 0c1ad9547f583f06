"""Row `order`: passes and time of an image in other orders than raster, against next-token prediction.

All have the same width, number of blocks, classes and guidance, and a tokenizer's grid of 16×16: its codes, the scales
that lead up to it (VAR, FlowAR) or its latents (xAR, FlowAR). These are different models with random weights; only
their cost is compared, one image at a time. Token-Shuffle with windows of 2×2 tokens stands against itself without.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import zellige
from benchmarks.harness import Bench, Peer, require
from zellige.core.generator import Generator
from zellige.systems.var_vq import SCALES

SIDE = 16
WIDTH, HEADS, DEPTH, HIDDEN = 256, 4, 8, 768
GUIDANCE = 3.0
CELLS, STEPS, HALVINGS = 4, 40, 5
"""Of xAR, its cells and the steps of its flow; of FlowAR, its scales."""
WINDOW, SPEEDUP = 2, 2
"""Of Token-Shuffle, the tokens a side of a window, and how much faster it is to be with it."""


def run(bench: Bench) -> None:
    """Require the passes that each order takes, then compare."""
    torch.manual_seed(0)
    grid: dict[str, Any] = {"layout": ((SIDE, SIDE),)}
    scales: dict[str, Any] = {"layout": tuple((side, side) for side in SCALES)}
    one: dict[str, Any] = {"depth": DEPTH, "heads": HEADS}
    two: dict[str, Any] = {"depths": (DEPTH // 2,) * 2, "heads": (HEADS,) * 2, "hidden": HIDDEN}
    length = SIDE * SIDE
    raster = Drawn("llamagen", "transformer", length, **grid, **one, hidden=HIDDEN)
    plain = Drawn("token-shuffle", "transformer", length, **grid, **one, hidden=HIDDEN, side=1)
    others = (
        (Drawn("var", "transformer", len(SCALES), **scales, **one), raster, None),
        (Drawn("flowar", "trunk", HALVINGS, **grid, **two, head_width=WIDTH), raster, None),
        # between two cells, a pass keeps the first for the next
        (Drawn("xar", "trunk", CELLS * STEPS + CELLS - 1, **grid, **two, steps=STEPS), raster, None),
        (
            Drawn("token-shuffle", "transformer", length // WINDOW**2, **grid, **one, hidden=HIDDEN, side=WINDOW),
            plain,
            SPEEDUP,
        ),
    )
    job = f"an image of {SIDE}×{SIDE}, {DEPTH} blocks of {WIDTH}, guided"
    for ours, theirs, target in others:
        bench.fact(job, f"{ours.name}, and {theirs.name}", f"{ours.cost}, and {theirs.cost}")
        bench.compare(
            job,
            (ours.name, ours.draw),
            [Peer(theirs.name, theirs.draw, target=target)],
            equal="width, blocks, grid",
        )


class Drawn:
    """An untrained generator of the common width, drawn once to see that it makes the passes that its order takes.

    Args:
        system: its slug.
        trunk: the part of it that counts.
        wanted: passes of the trunk.
        settings: of its configuration.
    """

    def __init__(self, system: str, trunk: str, wanted: int, **settings: Any) -> None:
        model = zellige.build(f"{system}/small", dim=WIDTH, **settings)
        assert isinstance(model, Generator)
        self.model = model.eval()
        self.name = f"{system}, side {settings['side']}" if "side" in settings else system
        tokens: list[int] = []
        steps: list[int] = []
        hooks = [model.get_submodule(trunk).register_forward_hook(partial(_count, tokens))]
        if system == "flowar":  # a pass of its head is a small transformer, and a step
            hooks.append(model.get_submodule("head").register_forward_hook(partial(_count, steps)))
        self.draw()
        for hook in hooks:
            hook.remove()
        require(len(tokens) == wanted, f"{system} makes {len(tokens)} passes, not {wanted}")
        self.cost = f"{len(tokens)} passes over {sum(tokens)} tokens"
        if steps:
            self.cost += f" ({len(steps)} of its flow head)"

    def draw(self) -> Tensor:
        """An image."""
        return self.model.sample(0, seed=0, guidance=GUIDANCE).data


def _count(tokens: list[int], _: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
    tokens.append(inputs[0].shape[1])
