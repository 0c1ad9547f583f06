"""Row 4: a training step of lookup-free quantization with its two entropies, forward and backward.

The peer lists all 2^D codes; ours factorizes both entropies over the bits, which is exact. The peer's logarithm
stops at 1e-5, so equality is asserted against the full table in float64, and the peer's distance is reported.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vector_quantize_pytorch import LFQ

from benchmarks.harness import Bench, Peer, require
from zellige.quantize import BinaryQuantizer

SIZES = ((14, 2048), (18, 512))
"""(bits, vectors); the peer's tables of 18 bits for 2,048 vectors are larger than this machine's memory."""


def run(bench: Bench) -> None:
    """Compare each size."""
    for bits, count in SIZES:
        torch.manual_seed(0)
        z = (0.02 * torch.randn(1, count, bits)).requires_grad_()
        ours = BinaryQuantizer.lookup_free(bits)
        theirs = LFQ(
            dim=bits,
            codebook_size=2**bits,
            entropy_loss_weight=0.1,
            commitment_loss_weight=0.25,
            diversity_gamma=1.0,
        )
        quantized, (_, ids, peer_loss) = ours(z), theirs(z)
        order = 2 ** torch.arange(bits)
        swapped = ((ids[..., None] // order % 2) * order.flip(0)).sum(-1)  # the peer's first bit weighs most
        require(torch.equal(swapped, quantized.ids), "ids differ")
        exact = 0.1 * full_entropy(z[0].detach()).item()
        found = quantized.losses["entropy"].item()
        require(
            abs(found - exact) <= 1e-4 * max(abs(exact), 0.01), f"entropy loss {found}, the full table says {exact}"
        )
        loss = sum(quantized.losses.values()).item()
        bench.compare(
            f"{count:,} vectors, 2^{bits} codes, forward and backward",
            ("BinaryQuantizer.lookup_free", lambda z=z, ours=ours: step(z, sum(ours(z).losses.values()))),
            [
                Peer(
                    "vector-quantize-pytorch LFQ",
                    lambda z=z, theirs=theirs: step(z, theirs(z)[2]),
                    target=5,
                )
            ],
            equal=f"ids; loss {loss:.5f}, full table to 1e-4; the peer's {peer_loss.item():.5f}",
            memory=True,
        )


def step(z: Tensor, loss: Tensor) -> None:
    """The gradient of a loss to the latents."""
    z.grad = None
    loss.backward()


def full_entropy(z: Tensor) -> Tensor:
    """Mean entropy of each vector's distribution over all codes less the entropy of the mean, in float64."""
    bits = z.shape[1]
    sample, mean = z.new_zeros((), dtype=torch.float64), z.new_zeros(2**bits, dtype=torch.float64)
    codes = (torch.arange(2**bits)[:, None] >> torch.arange(bits) & 1).double() * 2 - 1
    for chunk in z.double().split(16):
        log_p = (200 * chunk @ codes.T).log_softmax(1)
        p = log_p.exp()
        sample, mean = sample - (p * log_p).sum() / len(z), mean + p.sum(0) / len(z)
    return sample + torch.special.xlogy(mean, mean).sum()
