"""Row 2: residual quantization, 8 stages of 1,024 codes, 8,192 vectors of 64 dimensions."""

from __future__ import annotations

import torch
from vector_quantize_pytorch import ResidualVQ

from benchmarks.harness import Bench, Peer, require, same_codes
from zellige.quantize import make_quantizer

STAGES, CODES, DIM, COUNT = 8, 1024, 64, 8192


def run(bench: Bench) -> None:
    """Compare the whole call (vectors, ids, losses; ours statistics too) and the ids alone."""
    torch.manual_seed(0)
    z = torch.randn(1, COUNT, DIM)
    ours = make_quantizer("residual", DIM, of="vq", depth=STAGES, codes=CODES).eval()
    theirs = ResidualVQ(dim=DIM, num_quantizers=STAGES, codebook_size=CODES).eval()
    with torch.inference_mode():
        for number, stage in enumerate(ours.stages):
            table = torch.randn(CODES, DIM) * 0.9**number
            stage.embedding.weight.copy_(table)
            theirs.layers[number]._codebook.embed.copy_(table[None])
        equal = _same(z, ours, ours.encode(z)[0], theirs(z)[1][0])
        peer = Peer("vector-quantize-pytorch ResidualVQ", lambda: theirs(z), target=5)
        job = f"{STAGES} stages of {CODES:,} codes, {COUNT:,} vectors of {DIM}"
        bench.compare(f"{job}: whole call", ("ResidualQuantizer", lambda: ours(z)), [peer], equal=equal)
        bench.compare(f"{job}: ids", ("ResidualQuantizer.encode", lambda: ours.encode(z)), [peer], equal=equal)


def _same(z: torch.Tensor, ours: torch.nn.Module, first: torch.Tensor, second: torch.Tensor) -> str:
    """As `same_codes` at the first stage where the ids of a vector differ; later ones see another residual."""
    residual, alike = z[0], torch.ones(COUNT, dtype=torch.bool)
    for number, stage in enumerate(ours.stages):
        same_codes(residual[alike], stage.embedding.weight, first[alike, number], second[alike, number])
        residual = residual - stage.lookup(first[:, number])
        alike &= first[:, number] == second[:, number]
    require(alike.float().mean() > 0.999, f"only {alike.float().mean():.2%} of the vectors have equal ids")
    return "all ids" if alike.all() else f"ids, but {int((~alike).sum())} vectors with ties within rounding"
