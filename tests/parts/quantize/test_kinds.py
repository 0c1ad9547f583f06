"""What only one kind of quantizer does: sums of codes, scales, samples, and building by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zellige.core.errors import UsageError
from zellige.quantize import (
    QUANTIZERS,
    GaussianQuantizer,
    MultiScaleResidualQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
    make_quantizer,
)
from zellige.quantize.multiscale import nearest_ticks


def random_codes(quantizer: torch.nn.Module, scale: float = 1.0) -> None:
    with torch.no_grad():
        for key, parameter in quantizer.named_parameters():
            if key.endswith("embedding.weight"):
                parameter.normal_(std=scale)


def test_losses_of_a_vector_quantizer() -> None:
    quantizer = VectorQuantizer(3, 5, beta=0.4, codebook_weight=2.0)
    random_codes(quantizer)
    z = torch.randn(2, 6, 3, requires_grad=True)
    out = quantizer(z)
    error = (quantizer.lookup(out.ids) - z).square().mean()
    torch.testing.assert_close(out.losses["commitment"], 0.4 * error)
    torch.testing.assert_close(out.losses["codebook"], 2 * error)
    out.losses["commitment"].backward()
    assert quantizer.embedding.weight.grad is None
    assert z.grad.abs().sum() > 0


def test_normalized_codes_may_be_stored_at_any_length() -> None:
    quantizer = VectorQuantizer(4, 12, normalize=True)
    z = torch.randn(1, 9, 4)
    ids, vectors = quantizer.encode(z), quantizer.lookup(torch.arange(12))
    with torch.no_grad():
        quantizer.embedding.weight.mul_(torch.rand(12, 1) * 5 + 0.1)
    assert torch.equal(quantizer.encode(z * 7), ids)
    torch.testing.assert_close(quantizer.lookup(torch.arange(12)), vectors)


def test_product_is_its_groups_side_by_side() -> None:
    parts = [VectorQuantizer(2, 7), VectorQuantizer(3, 9, normalize=True)]
    product = ProductQuantizer(parts)
    random_codes(product)
    z = torch.randn(2, 5, 5)
    assert product.codebook == (7, 9)
    assert torch.equal(product.encode(z)[..., 1], parts[1].encode(z[..., 2:]))
    assert torch.equal(product(z).z_q[..., :2], parts[0](z[..., :2]).z_q)


def test_residual_stages_sum_up_and_improve() -> None:
    quantizer = make_quantizer("residual", 4, of="vq", depth=3, codes=200)
    assert isinstance(quantizer, ResidualQuantizer)
    for stage, scale in zip(quantizer.stages, (1.0, 0.5, 0.25), strict=True):
        random_codes(stage, scale)
    z = torch.randn(2, 30, 4)
    ids = quantizer.encode(z)
    parts = torch.stack([stage.lookup(ids[..., g]) for g, stage in enumerate(quantizer.stages)])
    errors = (parts.cumsum(0) - z).square().mean((1, 2, 3))
    assert errors[0] > errors[1] > errors[2]
    torch.testing.assert_close(quantizer.lookup(ids), parts.sum(0))
    second = quantizer.neighbours(z, 3)[:, :, 1]
    assert torch.equal(second, quantizer.stages[1].neighbours(z - parts[0], 3))


def test_scales_share_blends_as_published() -> None:
    assert nearest_ticks(10, 4) == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert nearest_ticks(1, 4) == [0]
    assert nearest_ticks(4, 4) == [0, 1, 2, 3]


def test_multiscale_follows_its_definition() -> None:
    """f̂ scale by scale from plain distances, interpolations and convolutions."""
    torch.manual_seed(0)
    quantizer = MultiScaleResidualQuantizer(3, 16, scales=[1, 2, 4], blends=2, blend_ratio=0.25)
    random_codes(quantizer)
    z = torch.randn(2, 16, 3)
    out = quantizer(z)
    f = z.transpose(1, 2).reshape(2, 3, 4, 4)
    total, start, errors = torch.zeros_like(f), 0, []
    partial = quantizer.partial_sums(out.ids)
    with torch.no_grad():
        for index, side in enumerate((1, 2, 4)):
            small = F.adaptive_avg_pool2d(f - total, side).flatten(2).transpose(1, 2)
            ids = torch.cdist(small, quantizer.embedding.weight.expand(2, -1, -1)).argmin(-1)
            assert torch.equal(ids, out.ids[:, start : start + side**2])
            codes = quantizer.embedding.weight[ids].transpose(1, 2).reshape(2, 3, side, side)
            large = F.interpolate(codes, (4, 4), mode="bicubic") if side < 4 else codes
            total = total + 0.75 * large + 0.25 * quantizer.blends[[0, 0, 1][index]](large)
            errors.append((total - f).square().mean())
            torch.testing.assert_close(partial[index], total.flatten(2).transpose(1, 2))
            start += side**2
    torch.testing.assert_close(out.z_q, partial[-1])
    mean = torch.stack(errors).mean()
    torch.testing.assert_close(out.losses["codebook"], mean)
    torch.testing.assert_close(out.losses["commitment"], 0.25 * mean)


def test_multiscale_layout_is_its_scales() -> None:
    quantizer = MultiScaleResidualQuantizer(4, 8, scales=[1, [2, 3], [4, 6]])
    assert quantizer.layout((4, 6)) == ((1, 1), (2, 3), (4, 6))
    assert quantizer.encode(torch.randn(2, 24, 4)).shape == (2, 1 + 6 + 24)
    with pytest.raises(UsageError, match=r"\(4, 6\)"):
        quantizer.layout((6, 4))


def test_gaussian_samples_in_training_and_gives_the_mean_otherwise() -> None:
    quantizer = GaussianQuantizer(4, kl_weight=0.5)
    assert (quantizer.input_dim, quantizer.codebook) == (8, ())
    z = torch.randn(3, 5, 8)
    out = quantizer.eval()(z)
    assert out.ids is None
    assert torch.equal(out.z_q, z[..., :4])
    assert torch.equal(quantizer.lookup(quantizer.encode(z)), z[..., :4])
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(z[..., :4], (z[..., 4:] / 2).exp())
    kl = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(out.losses["kl"], 0.5 * kl.sum((1, 2)).mean())
    torch.testing.assert_close(out.stats["kl"], kl.mean())
    quantizer.train()
    samples = torch.stack([quantizer(z).z_q for _ in range(2000)])
    torch.testing.assert_close(samples.mean(0), posterior.mean, rtol=0, atol=0.4)
    torch.testing.assert_close(samples.std(0), posterior.stddev, rtol=0.1, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.encode(z), z[..., :4])
    with pytest.raises(UsageError, match="no neighbouring codes"):
        quantizer.neighbours(z, 1)
    with pytest.raises(UsageError, match="2·4"):
        quantizer(z[..., :4])


EXAMPLES: dict[str, dict[str, Any]] = {
    "vq": {"codes": 16},
    "ema": {"codes": 16},
    "fsq": {"levels": [4, 4, 4, 4]},
    "lfq": {},
    "bsq": {},
    "product": {"of": "lfq", "groups": 2},
    "residual": {"of": "ema", "depth": 2, "codes": 8},
    "multiscale": {"codes": 8, "scales": [1, 2]},
    "gaussian": {},
}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_name_builds(name: str) -> None:
    quantizer = make_quantizer(name, 4, **EXAMPLES[name])
    assert quantizer.dim == 4


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("vqq", {}, "unknown quantizer 'vqq'; did you mean vq"),
        ("vq", {}, "codes"),
        ("vq", {"codes": 8, "colour": 1}, "colour.*its settings are codes, normalize"),
        ("vq", {"codes": "many"}, "quantizer 'vq'"),
        ("fsq", {"levels": [8, 8]}, "dim=2"),
        ("lfq", {"temperature": 0.0}, "temperature"),
        ("bsq", {"entropy_group": 99}, "entropy_group"),
        ("vq", {"codes": 8, "entropy_temperature": 0}, "entropy_temperature"),
        ("product", {"of": "vq", "groups": 3, "codes": 8}, "3 equal groups"),
        ("product", {"of": "gaussian", "groups": 2}, "discrete"),
        ("residual", {"of": "fsq", "depth": 2, "levels": [4] * 4}, "'vq' or 'ema'"),
        ("residual", {"of": "vq", "depth": 0, "codes": 8}, "one or more"),
        ("residual", {"of": "vq", "depth": 2, "codes": 8, "normalize": True}, "normalize"),
        ("multiscale", {"codes": 8, "scales": []}, "scales"),
        ("multiscale", {"codes": 8, "scales": [1], "blends": 0}, "blends"),
    ],
)
def test_what_cannot_be_built_is_a_clear_error(name: str, settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        make_quantizer(name, 4, **settings)
    assert "\n" not in str(caught.value)


def test_bits_have_limits() -> None:
    with pytest.raises(UsageError, match="62"):
        make_quantizer("lfq", 63)
