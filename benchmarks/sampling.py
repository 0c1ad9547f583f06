"""Row `sampling`: 256 tokens one after the other, with the cache of keys and values and without."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import zellige
from benchmarks.harness import Bench, Peer, require
from zellige.generate.guidance import Guidance
from zellige.systems.llamagen import LlamaGen

SIDE = 16
"""Tokens of each side of the grid."""
GUIDANCE = Guidance(2.0)
SPEEDUP = 5


def run(bench: Bench) -> None:
    """Require the same likeliest ids, then compare; only the peer's passes over earlier tokens are more work."""
    torch.manual_seed(0)
    model = zellige.build("llamagen/small", layout=((SIDE, SIDE),))
    assert isinstance(model, LlamaGen)
    nn.init.normal_(model.head.weight)  # a fresh one is zero, and all codes are as likely
    model.eval()

    def cached() -> Tensor:
        return model.sample(0, guidance=GUIDANCE.scale, temperature=0.0).data

    def recomputed() -> Tensor:
        return without_cache(model, torch.tensor([0, model.classes]))

    require(torch.equal(cached(), recomputed()), "ids differ")
    bench.compare(
        f"{SIDE * SIDE} tokens of llamagen/small, one image, guided",
        ("sample", cached),
        [Peer("all tokens so far in each pass", recomputed, target=SPEEDUP)],
        equal="all likeliest ids",
    )


@torch.inference_mode()
def without_cache(model: LlamaGen, labels: Tensor) -> Tensor:
    """The likeliest ids (B, L), each from a pass over all that come before, with the head at the last one alone.

    Args:
        labels: (2B,), for both halves of guidance.
    """
    x, ids = model._prefix(labels, len(labels))[0], []
    for position in range(model.length):
        seen = model.transformer(x, causal=True, rotary=model.rotary[: x.shape[1]])
        logits = GUIDANCE.combine(model._unembed(seen[:, -1]), position / model.length)
        ids.append(logits.argmax(-1))
        x = torch.cat([x, model._embed(GUIDANCE.double(ids[-1]))[:, None]], dim=1)
    return torch.stack(ids, dim=1)
