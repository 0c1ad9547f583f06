"""Row `perturbation`: latent perturbation at 16,384 codes, 64 images of 256 tokens, against the released algorithm.

The peer computes what the official function does: the distances of all tokens to all codes, the `delta` nearest
of each, one of them for each token, and then uses the first samples of the batch. `perturbation:FILE` takes the
official function itself for a second peer: FILE is its authors' `latent_perturbation.py` (lxa9867/ImageFolder;
licensed for research only, so nothing of it is here).

Legend: B images of N tokens of D channels, M = B·N, K codes.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.harness import Bench, Peer, require, same_codes
from zellige.latent.perturb import perturb, perturb_ids
from zellige.latent.perturbation import usual_delta
from zellige.quantize import VectorQuantizer

CODES, BATCH, TOKENS = 16384, 64, 256
JOBS = {64: (0.1, 1.0), 8: (0.1,)}
"""Dimension → beta: a tenth of the images in training, as released; all of them in evaluation."""
ALPHA = 1.0
SEED = 1


def run(bench: Bench, file: str | None = None) -> None:
    """Require equal codes from equal draws, then compare; ours is to need a third of the memory at most."""
    delta = usual_delta((CODES,))
    official = load_official(file) if file else None
    for dim, betas in JOBS.items():
        torch.manual_seed(0)
        quantizer = VectorQuantizer(dim, CODES, normalize=True).eval()
        z = torch.randn(BATCH, TOKENS, dim)
        draws = drawn(delta)
        with torch.inference_mode():
            table = quantizer.embedding.project(quantizer.embedding.weight)
            clean = quantizer(z)
        equal = _same(quantizer, z, table, clean.ids, delta, draws)
        for beta in betas:
            strength = {"alpha": ALPHA, "beta": beta, "delta": delta}

            def ours(z=z, clean=clean, quantizer=quantizer, draws=draws, strength=strength) -> Tensor:
                return perturb(quantizer, z, clean, draws=draws, **strength)

            def theirs(z=z, clean=clean, quantizer=quantizer, draws=draws, strength=strength) -> Tensor:
                return released(z, clean.z_q, quantizer.embedding.weight, draws=draws, **strength)

            def theirs_from_file(z=z, clean=clean, quantizer=quantizer, strength=strength) -> Tensor:
                assert official
                return official(z, clean.z_q, quantizer.embedding.weight, **strength)

            peers = [Peer("all distances, then topk, as released", theirs, target=1)]
            if official:
                peers.append(Peer("the official function", theirs_from_file, target=1))
            with torch.inference_mode():
                for peer in peers:
                    error = float((ours() - peer.run()).abs().max())
                    require(error < 1e-5 or equal != "all ids", f"latents differ by {error:.1e}")
                bench.compare(
                    f"{BATCH} images of {TOKENS} tokens, {CODES:,} codes of {dim}, delta {delta}, beta {beta:g}",
                    ("perturb", ours),
                    peers,
                    equal=equal,
                    memory=True,
                )
            for timing in bench.comparisons[-len(peers) :]:
                share = timing.ours.megabytes / timing.peer.megabytes
                what = f"extra memory of ours over that of: {timing.peer.name}"
                bench.fact(timing.job, what, f"{share:.3f}", "≤ 1/3", share <= 1 / 3)


def drawn(delta: int) -> tuple[Tensor, Tensor]:
    """What the official function draws after `torch.manual_seed(SEED)`: uniform numbers and places (B, N)."""
    torch.manual_seed(SEED)
    return torch.rand(BATCH * TOKENS).view(BATCH, -1), torch.randint(delta, (BATCH * TOKENS,)).view(BATCH, -1)


def load_official(file: str) -> Callable[..., Tensor]:
    """The official function, taken and given (B, N, D) as `released` is, with the draws of `drawn`."""
    spec = importlib.util.spec_from_file_location("latent_perturbation", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file; name latent_perturbation.py of lxa9867/ImageFolder")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(z: Tensor, z_q: Tensor, codebook: Tensor, **strength: float) -> Tensor:
        torch.manual_seed(SEED)
        planes = z.mT[..., None], z_q.mT[..., None]  # a grid of one column
        table = nn.Embedding.from_pretrained(codebook)
        return module.add_perturbation(*planes, z.shape[-1], True, table, **strength)[..., 0].mT

    return call


def released(
    z: Tensor,
    z_q: Tensor,
    codebook: Tensor,
    *,
    alpha: float,
    beta: float,
    delta: int,
    draws: tuple[Tensor, Tensor],
) -> Tensor:
    """Perturbed latents (B, N, D) by the algorithm of the released function, with its normalisation of both sides."""
    z = torch.nn.functional.normalize(z, dim=-1)
    table = torch.nn.functional.normalize(codebook, dim=-1)
    moved = table[released_ids(z.flatten(0, 1), table, alpha=alpha, delta=delta, draws=draws)].view_as(z)
    moved = z + (moved - z).detach()
    samples = math.floor(len(z) * beta)
    return torch.cat([moved[:samples], z_q[samples:]])


def released_ids(z: Tensor, table: Tensor, *, alpha: float, delta: int, draws: tuple[Tensor, Tensor]) -> Tensor:
    """Ids (M,) of vectors (M, D) and codes (K, D)."""
    p, j = draws[0].flatten(), draws[1].flatten()
    distances = z.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * z @ table.T
    near = distances.topk(delta, dim=1, largest=False).indices
    return near.gather(1, torch.where(p > alpha, 0, j)[:, None])[:, 0]


def _same(
    quantizer: VectorQuantizer, z: Tensor, table: Tensor, ids: Tensor, delta: int, draws: tuple[Tensor, Tensor]
) -> str:
    vectors = quantizer.embedding.project(z).flatten(0, 1)
    theirs = released_ids(vectors, table, alpha=ALPHA, delta=delta, draws=draws)
    ours = perturb_ids(quantizer, z, ids, alpha=ALPHA, delta=delta, draws=draws)
    return same_codes(vectors, table, ours.flatten(), theirs)
