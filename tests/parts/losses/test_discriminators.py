from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.losses.discriminators.blurpool import BlurPool, BlurPoolDiscriminator
from zellige.losses.discriminators.features import FeatureDiscriminator
from zellige.losses.discriminators.norms import NORMS, ActNorm, GroupedBatchNorm
from zellige.losses.discriminators.patch import PatchDiscriminator
from zellige.nn.features.vit import ViTFeatures


class Maps(nn.Module):
    """Two maps of different widths and sizes, with weights and a batch norm that must not be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Conv2d(8, 12, 2, stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.one(x)
        return [first, self.two(first)]


def vit() -> ViTFeatures:
    return ViTFeatures(16, 2, 2, patch=4, size=16, readouts=(0, 1))


def on_maps() -> nn.Module:
    return FeatureDiscriminator(Maps(), (8, 12))


def on_vit() -> nn.Module:
    network = vit()
    return FeatureDiscriminator(network, network.channels)


MAKE: dict[str, Callable[[], nn.Module]] = {
    **{f"patch-{norm}": lambda norm=norm: PatchDiscriminator(8, 2, norm=norm) for norm in NORMS},
    "patch-spectral": lambda: PatchDiscriminator(8, 2, norm="none", spectral=True),
    "blur-pool": lambda: BlurPoolDiscriminator(32, (1, 2), grid=2),
    "features": on_maps,
    "features-vit": on_vit,
}


def images(batch: int = 3, side: int = 16) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(params=MAKE)
def discriminator(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MAKE[request.param]()


def test_learns_to_tell_noise_from_stripes(discriminator: nn.Module) -> None:
    real = images(2)
    fake = real[..., :1].expand_as(real)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = (1 - discriminator(real)).relu().mean() + (1 + discriminator(fake)).relu().mean()
        loss.backward()
        optimizer.step()
    assert discriminator(real).mean().item() - discriminator(fake).mean().item() > 0.3


def test_gradients_reach_every_weight_and_the_image(discriminator: nn.Module) -> None:
    x = images().requires_grad_()
    logits = discriminator(x)
    (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
    assert x.grad is not None
    assert bool((x.grad.flatten(1).abs().amax(1) > 0).all())
    unreached = [name for name, p in discriminator.named_parameters() if p.grad is None]
    assert unreached == []


def test_state_is_saved_whole(discriminator: nn.Module, request: pytest.FixtureRequest) -> None:
    """A copy goes on exactly as the first would: spectral norm and the norms' statistics are in the state."""
    discriminator(images())
    torch.manual_seed(0)  # the same frozen network
    other = MAKE[request.node.callspec.params["discriminator"]]()
    other.load_state_dict(discriminator.state_dict())
    for mode in (True, False):
        assert torch.equal(discriminator.train(mode)(images()), other.train(mode)(images()))


def test_frozen_network_is_untouched_and_unseen() -> None:
    network = Maps()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    discriminator = FeatureDiscriminator(network, (8, 12)).train()
    discriminator(images()).sum().backward()
    assert all(name.startswith("heads.") for name in discriminator.state_dict())
    assert all(name.startswith("heads.") for name, _ in discriminator.named_parameters())
    assert not network.training
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert discriminator.double()(images().double()).dtype == torch.float64  # it follows its owner


def test_sizes_of_the_maps_of_logits() -> None:
    assert PatchDiscriminator(8, 3)(images(1, 64)).shape == (1, 1, 6, 6)
    assert PatchDiscriminator(8, 3, padding=2)(images(1, 32)).shape == (1, 1, 7, 7)
    assert BlurPoolDiscriminator(32, (1, 2))(images(1, 128)).shape == (1, 1, 16, 16)
    assert on_maps()(images()).shape == (3, 8 * 8 + 4 * 4)
    assert on_vit()(images()).shape == (3, 3 * 16)


def test_a_logit_of_the_patch_discriminator_sees_70_pixels() -> None:
    x = torch.zeros(1, 3, 128, 128, requires_grad=True)
    PatchDiscriminator(4, 3, norm="none")(x)[0, 0, 6, 6].backward()
    assert int(x.grad.abs().sum((0, 1, 3)).bool().sum()) == 70


def test_unknown_norms_are_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match="batch"):
        PatchDiscriminator(norm="bach")


def test_actnorm_starts_from_its_first_training_batch() -> None:
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
    norm = ActNorm(3)
    assert torch.equal(norm.eval()(x), x)
    y = norm.train()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(3))
    torch.testing.assert_close(norm(2 * x), (2 * x + norm.shift.view(-1, 1, 1)) * norm.scale.view(-1, 1, 1))


def test_grouped_batch_norm_is_batch_norm_of_each_group() -> None:
    x = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
    norm = GroupedBatchNorm(4, size=3)
    for part, y in zip(x.chunk(2), norm(x).chunk(2), strict=True):
        torch.testing.assert_close(y, nn.BatchNorm1d(4, eps=1e-6)(part))
    with pytest.raises(ValueError, match="batch of 7"):
        GroupedBatchNorm(4, size=2)(torch.cat([x, x[:1]]))


@pytest.mark.parametrize("size", [7, 8])
def test_blur_pool_keeps_constants_and_removes_the_finest_stripes(size: int) -> None:
    pool = BlurPool()
    inner = pool(torch.ones(1, 2, size, size))[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.ones_like(inner))
    stripes = (-1.0) ** torch.arange(size).expand(1, 1, size, size)
    assert float(pool(stripes)[..., 1:-1].abs().max()) < 1e-6
    assert pool(stripes).shape == (1, 1, 4, 4)
