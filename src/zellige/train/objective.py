"""Networks that judge reconstructions, as a recipe asks for them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from zellige.convert.dino import load_dino
from zellige.convert.features import load_efficientnet_lite0, load_lpips
from zellige.core.settings import build_from
from zellige.losses.adversary import Adversary
from zellige.losses.augment import DiffAugment
from zellige.losses.discriminators.blurpool import BlurPoolDiscriminator
from zellige.losses.discriminators.features import FeatureDiscriminator
from zellige.losses.discriminators.patch import PatchDiscriminator
from zellige.losses.perceptual import LPIPSLoss, PerceptualLoss
from zellige.train.recipe import Adversarial, Perceptual


def make_perceptual(settings: Perceptual) -> nn.Module:
    """The perceptual loss of two batches of images.

    Raises `UsageError` if its weights are not on this machine: where they were looked for, and what serves instead.
    """
    if settings.network == "efficientnet_lite0":
        return PerceptualLoss(load_efficientnet_lite0(settings.weights))
    net = settings.network.removeprefix("lpips-")
    return LPIPSLoss(load_lpips(net, backbone=settings.weights, heads=settings.heads))


def make_adversary(settings: Adversarial) -> Adversary:
    """A fresh discriminator and its losses; `UsageError` for settings that it does not have."""
    name = settings.discriminator
    discriminator = build_from(DISCRIMINATORS[name], f"discriminator '{name}'", settings.settings)
    augment = DiffAugment(settings.augment) if settings.augment else None
    return Adversary(
        discriminator, loss=settings.loss, generator=settings.generator, augment=augment, lecam=settings.lecam
    )


def _features(*, kernel: int = 9, group: int = 8) -> FeatureDiscriminator:
    network = load_efficientnet_lite0()
    return FeatureDiscriminator(network, network.channels, kernel=kernel, group=group)


def _dino(*, weights: str | None = None, kernel: int = 9, group: int = 8) -> FeatureDiscriminator:
    network = load_dino(weights)
    return FeatureDiscriminator(network, network.channels, kernel=kernel, group=group)


DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "patch": PatchDiscriminator,
    "blur-pool": BlurPoolDiscriminator,
    "features": _features,
    "dino": _dino,
}
