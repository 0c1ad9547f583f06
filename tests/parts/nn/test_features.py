from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zellige.nn.features.classic import alexnet, vgg16
from zellige.nn.features.efficientnet import EfficientNetLite0, SameConv
from zellige.nn.features.frozen import Frozen
from zellige.nn.features.lpips import unit_channels
from zellige.nn.features.vit import ViTFeatures


@pytest.mark.parametrize(
    ("make", "strides"),
    [(vgg16, (1, 2, 4, 8, 16)), (EfficientNetLite0, (2, 4, 8, 16, 32))],
    ids=["vgg16", "efficientnet-lite0"],
)
def test_pyramids_have_the_widths_and_strides_they_say(make: type, strides: tuple[int, ...]) -> None:
    network = make()
    maps = network(torch.zeros(1, 3, 64, 32))
    assert [m.shape[1] for m in maps] == list(network.channels)
    assert [m.shape[2:] for m in maps] == [(64 // s, 32 // s) for s in strides]


def test_parameter_counts_are_those_of_the_published_networks() -> None:
    def millions(network: nn.Module) -> float:
        return sum(p.numel() for p in network.parameters()) / 1e6

    assert millions(EfficientNetLite0()) == pytest.approx(4.652, abs=1e-3)
    assert millions(vgg16()) == pytest.approx(14.715, abs=1e-3)
    assert millions(alexnet()) == pytest.approx(2.470, abs=1e-3)
    with torch.device("meta"):
        assert millions(ViTFeatures()) == pytest.approx(21.666, abs=1e-3)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (1, 1)])
def test_same_convolution_rounds_up_and_pads_at_the_end(size: int, kernel: int, stride: int) -> None:
    conv = SameConv(1, 1, kernel, stride=stride, bias=False)
    nn.init.ones_(conv.weight)
    y = conv(torch.ones(1, 1, size, size + 1))
    assert y.shape[2:] == (-(-size // stride), -(-(size + 1) // stride))
    total = max(0, (y.shape[2] - 1) * stride + kernel - size)
    assert y[0, 0, 0, y.shape[3] // 2] == kernel * (kernel - total // 2)  # rows above the image count for nothing


def test_unit_channels_have_length_one_and_a_safe_gradient_at_zero() -> None:
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    x[0, :, 0] = 0
    x.requires_grad_()
    y = unit_channels(x)
    lengths = y.norm(dim=1).flatten().tolist()
    assert lengths == pytest.approx([0, 1, 1, 1, 1, 1], abs=1e-6)
    y.square().sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_frozen_lets_gradients_through_and_nothing_else() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    owner = nn.ModuleDict({"frozen": Frozen(network)}).train().double()
    x = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    owner["frozen"](x).sum().backward()
    torch.testing.assert_close(x.grad, network[0].weight.sum(0).expand(4, 2))  # no dropout
    assert network[0].weight.grad is None
    assert not owner.state_dict()
    assert not list(owner.parameters())
    owner.load_state_dict({})


def tiny_vit(**settings: float) -> ViTFeatures:
    torch.manual_seed(0)
    return ViTFeatures(8, 3, 2, patch=4, size=8, readouts=(0, 2), **settings).eval()


def test_readouts_are_patches_with_the_class_token() -> None:
    network = tiny_vit()
    with torch.no_grad():
        network.cls_token.fill_(5.0)
        network.pos_embed.zero_()
    x = torch.rand(2, 3, 8, 8) * 2 - 1
    maps = network(x)
    assert [m.shape for m in maps] == [(2, 8, 4)] * 3
    normal = ((x + 1) / 2 - network.mean) / network.std
    torch.testing.assert_close(maps[0], network.patch_embed.proj(normal).flatten(2) + 5)


def test_larger_images_are_cropped_or_reduced_and_smaller_ones_enlarged() -> None:
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def first(network: ViTFeatures, x: Tensor) -> Tensor:
        return network(x)[0].detach()

    never, always = tiny_vit(crop_chance=0.0), tiny_vit(crop_chance=1.0)
    reduced = x.view(1, 3, 8, 2, 8, 3).mean((3, 5))
    torch.testing.assert_close(first(never, x), first(never, reduced))
    crops = [first(never, x[..., t : t + 8, s : s + 8]) for t in range(9) for s in range(17)]
    for _ in range(4):
        found = first(always, x)
        assert min(float((found - crop).abs().max()) for crop in crops) < 1e-5
    assert first(never, x[..., :5, :6]).shape == (1, 8, 4)
