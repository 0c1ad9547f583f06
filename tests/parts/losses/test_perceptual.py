from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.losses.perceptual import DISTANCES, LPIPSLoss, PerceptualLoss
from zellige.nn.features.classic import Pyramid
from zellige.nn.features.efficientnet import EfficientNetLite0, EfficientNetLogits
from zellige.nn.features.lpips import LPIPS


class Plain(nn.Module):
    """The image itself and twice its mean, as features."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, self.factor * x.mean((2, 3))]


X = torch.tensor([3.0, 4.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
Y = torch.tensor([0.0, 4.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
BY_HAND = {"unit": 2 * 9 / 25, "mse": (2 * 9 / 3, 4 * 2 * 9 / 3), "l1": (2.0, 4.0)}


def tiny_lpips() -> LPIPS:
    torch.manual_seed(0)
    return LPIPS(Pyramid([nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU()], (1, 3), (4, 5)))


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_by_hand(distance: str) -> None:
    want = BY_HAND[distance]
    first, second = want if isinstance(want, tuple) else (want, want)
    assert float(PerceptualLoss(Plain(), distance=distance)(X, Y)) == pytest.approx((first + second) / 2, rel=1e-6)
    weighted = PerceptualLoss(Plain(), distance=distance, weights=(3.0, 0.5))(X, Y)
    assert float(weighted) == pytest.approx(3 * first + second / 2, rel=1e-6)


def test_unknown_distances_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="mse"):
        PerceptualLoss(Plain(), distance="ms")


def test_images_are_resized_before_the_network() -> None:
    x = torch.rand(2, 3, 8, 8)
    sizes: list[tuple[int, ...]] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            sizes.append(tuple(x.shape))
            return [x]

    PerceptualLoss(Spy(), size=4)(x, x)
    assert sizes == [(2, 3, 4, 4)] * 2


@pytest.mark.parametrize(
    "loss",
    [PerceptualLoss(EfficientNetLite0()), PerceptualLoss(Plain()), LPIPSLoss(tiny_lpips())],
    ids=["efficientnet", "plain", "lpips"],
)
def test_gradient_goes_to_the_output_only_and_nothing_is_trained(loss: nn.Module) -> None:
    x = (torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1).requires_grad_()
    y = torch.zeros(2, 3, 32, 32, requires_grad=True)
    value = loss.train()(x, y)
    value.backward()
    assert value.shape == ()
    assert value.item() > 0
    assert bool(torch.isfinite(x.grad).all())
    assert bool((x.grad.flatten(1).abs().amax(1) > 0).all())
    assert not list(loss.parameters())
    assert not loss.state_dict()
    assert float(loss(x.detach(), x.detach())) == 0


def test_lpips_is_symmetric_positive_and_safe_where_features_are_zero() -> None:
    lpips = tiny_lpips()
    x, y = torch.rand(2, 2, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert lpips.stages(x, y).shape == (2, 2)
    torch.testing.assert_close(lpips(x, y), lpips(y, x))
    with torch.no_grad():
        for conv in (lpips.backbone.features[0], lpips.backbone.features[2]):
            conv.bias.fill_(-100.0)
    x.requires_grad_()
    lpips(x, y).sum().backward()
    assert float(x.grad.abs().sum()) == 0


def test_logits_as_features() -> None:
    network = EfficientNetLite0()
    x = torch.zeros(2, 3, 32, 32)
    (logits,) = EfficientNetLogits(network)(x)
    assert logits.shape == (2, 1000)
    assert float(PerceptualLoss(EfficientNetLogits(network), distance="mse", size=32)(x, x)) == 0
