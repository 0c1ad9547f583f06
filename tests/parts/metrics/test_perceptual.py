"""LPIPS and DISTS with drawn weights: what must hold; goldens check the values."""

from __future__ import annotations

import math

import pytest
import torch

from zellige.metrics.perceptual import SMALLEST, dists_distance, lpips_distance
from zellige.nn.features.classic import alexnet
from zellige.nn.features.dists import DISTS
from zellige.nn.features.lpips import LPIPS
from zellige.nn.features.squeezenet import squeezenet


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 40, 48, generator=generator) * 2 - 1
    return x, (x + 0.3 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


@pytest.mark.parametrize("make", [alexnet, squeezenet])
def test_lpips_as_a_metric(make, pair) -> None:
    torch.manual_seed(0)
    network = LPIPS(make()).eval()
    assert network.stages(*pair).shape == (2, len(network.backbone.stages))
    metric = lpips_distance(network, "alex", "float")
    values = metric.update(*pair)
    assert torch.allclose(values, network(*pair))
    (m,) = metric.compute()
    assert (m.protocol.title, m.protocol.key, m.protocol.samples) == ("LPIPS, alex", "lpips/alex", 2)
    assert m.protocol.network_hash
    assert metric.per_image(pair[0], pair[0]).tolist() == [0, 0]


def test_smallest_images() -> None:
    torch.manual_seed(0)
    for network in (LPIPS(alexnet()), LPIPS(squeezenet()), DISTS()):
        metric = lpips_distance(network, "any")
        x = torch.rand(1, 3, SMALLEST, 50) * 2 - 1
        assert metric.per_image(x, -x).isfinite().all()
        assert math.isnan(metric.per_image(x[..., 1:, :], -x[..., 1:, :]).item())


def test_dists_is_zero_for_equal_images_and_forgives_a_shift_of_texture(pair) -> None:
    torch.manual_seed(0)
    metric = dists_distance(DISTS(), "float")
    x, y = pair
    assert metric.per_image(x, x).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert (metric.per_image(x, y) > 1e-3).all()
    (m,) = (metric.update(x, y), metric.compute())[1]
    assert m.protocol.key == "dists"


def test_half_precision_around_a_metric_does_not_change_it(pair) -> None:
    torch.manual_seed(0)
    metric = lpips_distance(LPIPS(alexnet()).eval(), "alex", "float")
    with torch.autocast("cpu", torch.bfloat16):
        inside = metric.per_image(*pair)
    assert torch.equal(inside, metric.per_image(*pair))
