"""Row 3: the statistics of a moving-average codebook, 16,384 vectors of 32 dimensions, 8,192 codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from benchmarks.harness import Bench, Peer, require, same_codes
from zellige.quantize import VectorQuantizer
from zellige.quantize.codebook import Codebook

CODES, DIM, COUNT = 8192, 32, 16384


def run(bench: Bench) -> None:
    """Compare the statistics alone, where ours also moves the codes, and a training step with them."""
    torch.manual_seed(0)
    z, ids = torch.randn(COUNT, DIM), torch.randint(CODES, (COUNT,))
    book = Codebook(CODES, DIM, decay=0.0)  # no memory: what it holds is what this batch says
    book.observe(z, ids)
    counts, sums = one_hot_statistics(z, ids)
    share = CODES / COUNT
    require(torch.equal(book.uses, counts * share), "counts differ")
    require(torch.allclose(book.sums, sums * share, rtol=1e-5, atol=1e-5), "sums differ")
    bench.compare(
        f"statistics of {COUNT:,} vectors of {DIM}, {CODES:,} codes",
        ("Codebook.observe, codes moved too", lambda: book.observe(z, ids)),
        [Peer("one-hot + einsum, as in vector-quantize-pytorch", lambda: one_hot_statistics(z, ids), target=5)],
        equal="counts, and sums to 1e-5",
        memory=True,
    )
    table, batch = torch.randn(CODES, DIM), z[None]
    ours = VectorQuantizer.ema(DIM, CODES, kmeans_start=False, revive_below=0)
    ours.embedding.weight.copy_(table)
    theirs = VectorQuantize(dim=DIM, codebook_size=CODES, decay=0.99)
    theirs.codebook = table
    equal = same_codes(z, table, ours(batch).ids[0], theirs(batch)[1][0])
    bench.compare(
        "a training step with them",
        ("VectorQuantizer.ema", lambda: ours(batch)),
        [Peer("vector-quantize-pytorch VectorQuantize", lambda: theirs(batch))],
        equal=equal,
    )


def one_hot_statistics(z: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (K,) and sums (K, D) by a product with the one-hot table of the ids."""
    chosen = F.one_hot(ids, CODES).to(z.dtype)
    return chosen.sum(0), torch.einsum("nd,nk->kd", z, chosen)
