"""Row 1: the nearest of K codes, N vectors of D dimensions.

The peer's call also gives quantized vectors and a loss, so `cdist` + `argmin` is the honest line.
"""

from __future__ import annotations

import torch
from vector_quantize_pytorch import VectorQuantize

from benchmarks.harness import Bench, Peer, same_codes
from zellige.quantize import VectorQuantizer

SIZES = ((16384, 8, 8192), (16384, 256, 4096), (1024, 32, 65536), (262144, 18, 1024))
"""(K, D, N)."""


def run(bench: Bench) -> None:
    """Compare each size; the memory that ours adds is to be an eighth of the peer's at most."""
    for codes, dim, count in SIZES:
        torch.manual_seed(0)
        z = torch.randn(1, count, dim)
        ours = VectorQuantizer(dim, codes).eval()
        theirs = VectorQuantize(dim=dim, codebook_size=codes).eval()
        table = torch.randn(codes, dim)
        with torch.inference_mode():
            ours.embedding.weight.copy_(table)
            theirs.codebook = table
            ids = ours.encode(z)[0]
            equal = same_codes(z[0], table, ids, theirs(z)[1][0])
            same_codes(z[0], table, ids, torch.cdist(z[0], table).argmin(-1))
            bench.compare(
                f"{count:,} vectors of {dim}, {codes:,} codes",
                ("VectorQuantizer.encode", lambda ours=ours, z=z: ours.encode(z)),
                [
                    Peer("vector-quantize-pytorch VectorQuantize", lambda theirs=theirs, z=z: theirs(z), target=5),
                    Peer("torch cdist + argmin", lambda z=z, table=table: torch.cdist(z[0], table).argmin(-1), 2),
                ],
                equal=equal,
                memory=True,
            )
        timing = bench.comparisons[-2]
        share = timing.ours.megabytes / timing.peer.megabytes
        bench.fact(timing.job, "extra memory of ours over the peer's", f"{share:.3f}", "≤ 1/8", share <= 1 / 8)
