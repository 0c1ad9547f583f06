"""Row `masked`: ENAT, which encodes a token once, against MaskGIT, which passes over all of them in every step.

Two models, so their samples differ; equal are width, number of blocks, tokens, steps and guidance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import zellige
from benchmarks.harness import Bench, Peer, require
from zellige.core.generator import Generator

SIDE, BATCH, STEPS = 16, 4, 8
CODES, CLASSES = 1024, 10
WIDTH, HEADS, ENCODER, DECODER = 256, 4, 10, 2
CLAIMED = 1.8
"""How many times less than a plain masked generator it computes, by the paper (arXiv 2411.06959)."""


def run(bench: Bench) -> None:
    """Require as many passes of either network, then compare."""
    torch.manual_seed(0)
    common: dict[str, Any] = {"layout": ((SIDE, SIDE),), "codebook": (CODES,), "classes": CLASSES}
    enat = zellige.build(
        "enat/small", **common, dim=WIDTH, heads=HEADS, encoder_depth=ENCODER, decoder_depth=DECODER
    ).eval()
    maskgit = zellige.build(
        "maskgit/small", **common, dim=WIDTH, heads=HEADS, depth=ENCODER + DECODER, hidden=4 * WIDTH
    ).eval()
    assert isinstance(enat, Generator)
    assert isinstance(maskgit, Generator)
    for model in (enat, maskgit):
        found = passes(model)
        require(found == STEPS, f"{model.system} makes {found} passes, not {STEPS}")
    job = f"{BATCH} images of {SIDE * SIDE} tokens, {STEPS} steps, {ENCODER + DECODER} blocks of {WIDTH}, guided"
    bench.compare(
        job,
        (f"enat, {ENCODER} + {DECODER} blocks", lambda: draw(enat)),
        [Peer("maskgit", lambda: draw(maskgit), target=CLAIMED)],
        equal="width, blocks, passes",
    )
    ours, theirs = operations(enat), operations(maskgit)
    ratio = theirs / ours
    value = f"{ours / 1e9:,.0f}, {theirs / 1e9:,.0f} GFLOP: {ratio:.2f} times"
    bench.fact(job, "operations of enat, and of maskgit", value, f"≥ {CLAIMED} times", ratio >= CLAIMED)


def draw(model: Generator) -> object:
    """Samples of several classes."""
    return model.sample(list(range(BATCH)), seed=0, guidance=3.0, steps=STEPS)


def passes(model: Generator) -> int:
    """How often sampling runs the network, by the calls of its head."""
    calls = []
    hook = model.get_submodule("head").register_forward_hook(lambda *_: calls.append(1))
    draw(model)
    hook.remove()
    return len(calls)


def operations(model: Generator) -> int:
    """Floating-point operations of the products in sampling, those of attention included."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        draw(model)
    return counter.get_total_flops()
