"""Factorised and chunked entropies against the tables they avoid."""

from __future__ import annotations

import pytest
import torch

from zellige.quantize import BinaryQuantizer, VectorQuantizer, entropy
from zellige.quantize.entropy import binary_entropies, bit_entropies, soft_assignment_entropies


def plain_entropies(affinity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    log_p = affinity.log_softmax(1)
    mean = log_p.exp().mean(0)
    return -(log_p.exp() * log_p).sum(1).mean(), -(mean * mean.clamp(min=1e-300).log()).sum()


def all_codes(bits: int, value: float) -> torch.Tensor:
    return (torch.arange(2**bits)[:, None] >> torch.arange(bits) & 1).double() * 2 * value - value


@pytest.mark.parametrize("spherical", [False, True])
def test_binary_entropies_are_those_of_the_softmax_over_all_codes(spherical: bool) -> None:
    torch.manual_seed(0)
    make = BinaryQuantizer.on_sphere if spherical else BinaryQuantizer.lookup_free
    quantizer = make(8, temperature=0.7, entropy_weight=1.0, diversity=0.3, beta=0.0)
    z = torch.randn(2, 25, 8)
    vectors = (torch.nn.functional.normalize(z, dim=-1) if spherical else z).double().flatten(0, 1)
    codes = all_codes(8, quantizer.value)
    torch.testing.assert_close(quantizer.lookup(torch.arange(256)), codes.float())
    sample, batch = plain_entropies(-torch.cdist(vectors, codes).square() / 0.7)
    torch.testing.assert_close(quantizer(z).losses["entropy"].double(), sample - 0.3 * batch, rtol=1e-5, atol=1e-5)
    exact = binary_entropies(vectors * 4 * quantizer.value / 0.7, [8])
    torch.testing.assert_close(exact[0], sample, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(exact[1], batch, rtol=1e-9, atol=1e-9)


def test_grouped_batch_entropy_bounds_the_exact_one() -> None:
    logits = torch.randn(40, 7, dtype=torch.float64) * 2
    exact, grouped, bits = (binary_entropies(logits, groups) for groups in ([7], [3, 4], [1] * 7))
    assert exact[0] == grouped[0] == bits[0]
    assert exact[1] < grouped[1] < bits[1]
    parts = [binary_entropies(part, [part.shape[1]])[1] for part in logits.split([3, 4], 1)]
    torch.testing.assert_close(grouped[1], parts[0] + parts[1])


def test_many_bits_are_grouped_by_default() -> None:
    assert BinaryQuantizer.lookup_free(18).groups == [18]
    assert BinaryQuantizer.on_sphere(20).groups == [9, 9, 2]
    quantizer = BinaryQuantizer.on_sphere(36)
    out = quantizer(torch.randn(1, 64, 36, requires_grad=True))
    assert torch.isfinite(out.losses["entropy"])
    assert out.stats["usage"] < 1e-8
    assert out.ids.max() < 2**36


def test_entropy_of_sure_bits_has_finite_gradients() -> None:
    logits = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4], requires_grad=True)
    value = bit_entropies(logits)
    value.sum().backward()
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(
        value.detach(), torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0]).log1p() * 0.6309298, atol=1e-5, rtol=0
    )
    sure = torch.full((3, 4), 1e4, requires_grad=True)
    binary_entropies(sure, [4])[1].backward()
    assert torch.isfinite(sure.grad).all()


def test_soft_assignment_is_the_softmax_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    z, codes = torch.randn(37, 3, requires_grad=True), torch.randn(11, 3, requires_grad=True)
    want = plain_entropies(-torch.cdist(z, codes).square() / 0.5)
    wanted = torch.autograd.grad(want[0] - want[1], [z, codes])
    for chunk in (10**6, 11 * 5):
        monkeypatch.setattr(entropy, "_CHUNK", chunk)
        got = soft_assignment_entropies(z, codes, 0.5)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(torch.autograd.grad(got[0] - got[1], [z, codes]), wanted, rtol=1e-4, atol=1e-6)


def test_entropy_loss_spreads_a_codebook() -> None:
    torch.manual_seed(0)
    z = torch.randn(4, 64, 4)
    quantizer = VectorQuantizer(4, 32, normalize=True, codebook_weight=0.0, entropy_weight=1.0, entropy_temperature=0.1)
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([1.0, 0, 0, 0]) + torch.randn(32, 4) * 0.05)
    before = quantizer(z).stats["entropy"]
    optimizer = torch.optim.Adam(quantizer.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        sum(quantizer(z).losses.values()).backward()
        optimizer.step()
    assert quantizer(z).stats["entropy"] > before + 0.5
