"""What is special to quantizers over scales: searches, signs, and samples that keep some of their scales."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError
from zellige.quantize import ProductQuantizer, make_quantizer
from zellige.quantize.multiscale import MultiScaleResidualQuantizer

SCALES = [1, 2, 4]


def latents(dim: int = 6, batch: int = 4) -> Tensor:
    return torch.randn(batch, 16, dim, generator=torch.Generator().manual_seed(0))


def by_cosine() -> MultiScaleResidualQuantizer:
    torch.manual_seed(0)
    quantizer = MultiScaleResidualQuantizer(6, 20, scales=SCALES, search="cosine", dropout=0.5, least_scales=2)
    with torch.no_grad():
        quantizer.embedding.weight.normal_()
    return quantizer


def by_sign(**settings: float) -> MultiScaleResidualQuantizer:
    torch.manual_seed(0)
    return MultiScaleResidualQuantizer(6, 64, scales=SCALES, search="sign", **settings)


def test_cosine_compares_directions_and_keeps_lengths() -> None:
    quantizer, z = by_cosine().eval(), latents()
    table = quantizer.embedding.weight
    coarsest = z.mean(1)
    best = (F.normalize(coarsest, dim=-1) @ F.normalize(table, dim=-1).T).argmax(1)
    ids = quantizer.encode(z)
    assert torch.equal(ids[:, 0], best)
    scaled = table.detach().clone()
    with torch.no_grad():
        table.mul_(3.0)  # other lengths, the same directions
    assert torch.equal(quantizer.encode(z)[:, 0], best)
    assert torch.equal(quantizer.embedding.lookup(best), 3 * scaled[best])


def test_signs_are_those_of_the_residual_on_the_sphere() -> None:
    quantizer, z = by_sign().eval(), latents()
    ids = quantizer.encode(z)
    assert torch.equal(ids, quantizer.encode(5 * z))
    mean = F.normalize(z, dim=-1).mean(1)
    assert torch.equal(ids[:, 0], ((mean > 0) * 2 ** torch.arange(6)).sum(1))
    assert quantizer.values.tolist() == pytest.approx([6**-0.5] * 3)
    assert quantizer(z).z_q.shape == z.shape


def test_the_entropy_of_signs_is_lower_where_bits_are_sure() -> None:
    quantizer = by_sign(entropy_weight=1.0)
    sure = torch.ones(4, 16, 6) * torch.tensor([1.0, -1.0]).repeat(2)[:, None, None]
    assert quantizer(sure).losses["entropy"] < quantizer(torch.ones(4, 16, 6)).losses["entropy"]
    with pytest.raises(UsageError, match="sign"):
        MultiScaleResidualQuantizer(6, 20, scales=SCALES, entropy_weight=0.1)


def test_the_first_samples_keep_some_of_their_scales() -> None:
    quantizer, z = by_cosine().train(), latents()
    sums = quantizer.partial_sums(quantizer.encode(z))
    depths = torch.tensor([2, 3, 3, 3])
    out = quantizer(z, depths)
    torch.testing.assert_close(out.z_q[0], sums[1][0])
    torch.testing.assert_close(out.z_q[1:], sums[2][1:])
    kept = [slice(None), slice(None), slice(1, None)]
    expected = sum(F.mse_loss(total[rows], z[rows]) for total, rows in zip(sums, kept, strict=True)) / 3
    torch.testing.assert_close(out.losses["codebook"], expected)


def test_depths_are_drawn_in_training_alone() -> None:
    quantizer, z = by_cosine().train(), latents(batch=64)
    depths = quantizer.draw_depths(z)
    assert depths is not None
    assert set(depths[:32].tolist()) == {2, 3}
    assert set(depths[32:].tolist()) == {3}
    assert quantizer.eval().draw_depths(z) is None


def test_all_branches_keep_the_same_scales() -> None:
    settings = {"codes": 20, "scales": SCALES, "search": "cosine", "dropout": 0.9}
    product = make_quantizer("product", 12, of="multiscale", groups=2, **settings)
    assert isinstance(product, ProductQuantizer)
    first, second = product.groups
    second.load_state_dict(first.state_dict())
    z = latents(batch=10)
    a, b = product.train()(torch.cat([z, z], dim=-1)).z_q.chunk(2, dim=-1)
    assert torch.equal(a, b)
    assert product.layout((4, 4)) == ((1, 1), (2, 2), (4, 4))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"codes": 20, "search": "euclid"}, "distance"),
        ({"codes": 63, "search": "sign"}, "64"),
        ({"codes": 20, "dropout": 1.0}, "dropout"),
        ({"codes": 20, "least_scales": 4}, "least_scales"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make_quantizer("multiscale", 6, scales=SCALES, **settings)
