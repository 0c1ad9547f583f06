"""Feature networks of set metrics: one vector an image, with the way the image is prepared.

A network plugs in as a `FeatureNetwork`: by name through `zellige.convert.features.load_features`, or any
module of one's own wrapped in `ImageFeatures`. Legend: B images, D dimensions, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import nearest
from zellige.metrics.resize import half_pixel_bilinear, pil_bicubic, tf1_bilinear
from zellige.nn.features.efficientnet import EfficientNetLite0
from zellige.nn.features.inception import FIDInception

Transform = Callable[[Tensor], Tensor]


class FeatureNetwork(Protocol):
    """What set metrics need of a network. Attributes are what its protocol records say.

    Attributes:
        name: of the network.
        distance: what its Fréchet distance is called; ``FID`` is Inception's alone.
        variant: of the distance, where there are several.
        resize: how images are prepared, in a few words.
        dim: D.
        fingerprint: identifies the weights.
    """

    name: str
    distance: str
    variant: str
    resize: str
    dim: int
    fingerprint: str

    def __call__(self, images: Tensor, /) -> Tensor:
        """Features (B, D) of images (B, 3, H, W) in [-1, 1]."""
        ...


@dataclass
class ImageFeatures:
    """A `FeatureNetwork` made of a module and two functions.

    Attributes:
        network: any module, in evaluation mode.
        read: prepared images (B, 3, H', W') to features (B, D).
        prepare: images (B, 3, H, W) in [-1, 1] to what `read` takes.
    """

    name: str
    dim: int
    network: nn.Module
    read: Transform
    prepare: Transform
    resize: str
    distance: str = ""
    variant: str = ""
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        self.distance = self.distance or f"FD-{self.name}"
        self.fingerprint = fingerprint(self.network)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):  # half precision moves the figure
            return self.read(self.prepare(images.float()))


def fingerprint(network: nn.Module) -> str:
    """16 hex digits that identify the weights of a module."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def efficientnet_features(network: EfficientNetLite0, size: int | None = 224) -> ImageFeatures:
    """FD-efficientnet_lite0, the stand-in where Inception is not at hand: 1,280 pooled features.

    Never comparable with a FID.

    Args:
        network: with its ImageNet weights.
        size: side that images are resized to, whatever their aspect; None leaves them at native size,
            where fine detail counts and the network sees objects larger than it was trained on.
    """

    def prepare(x: Tensor) -> Tensor:
        if size is None or x.shape[-2:] == (size, size):
            return x
        return F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)

    resize = "native size" if size is None else f"bicubic, antialiased, to {size}×{size}"
    return ImageFeatures("efficientnet_lite0", network.classifier.in_features, network, network.pooled, prepare, resize)


def inception_features(network: FIDInception, resize: str = "torch-fidelity") -> ImageFeatures:
    """FID: 2,048 pooled features of Inception, with the input path of one of `INCEPTION_INPUTS`."""
    if resize not in INCEPTION_INPUTS:
        raise nearest(resize, list(INCEPTION_INPUTS), "FID input path")
    description, prepare = INCEPTION_INPUTS[resize]
    return ImageFeatures(
        "FID Inception 2015",
        2048,
        network,
        lambda x: network(x).pools[2048],
        prepare,
        description,
        distance="FID",
        variant=resize,
    )


def spatial_features(network: FIDInception, resize: str = "torch-fidelity") -> ImageFeatures:
    """sFID: seven channels of an earlier layer at 17×17 positions, 2,023 features, as ADM's evaluator has it."""
    whole = inception_features(network, resize)
    return replace(whole, dim=7 * 17 * 17, read=lambda x: network(x).spatial.flatten(1), distance="sFID")


def class_logits(features: FeatureNetwork) -> Transform | None:
    """Class logits (B, C) of images (B, 3, H, W) in [-1, 1] by the network of some features, for Inception Scores.

    None where it is no classifier.
    """
    if not isinstance(features, ImageFeatures):
        return None
    network = features.network
    if isinstance(network, FIDInception):
        return replace(features, read=lambda x: network(x).logits)
    return replace(features, read=network.logits) if isinstance(network, EfficientNetLite0) else None


def _byte_range(x: Tensor) -> Tensor:
    return (x + 1) * 127.5


INCEPTION_INPUTS: dict[str, tuple[str, Transform]] = {
    "torch-fidelity": ("TF1 bilinear to 299×299", lambda x: (tf1_bilinear(_byte_range(x), 299) - 128) / 128),
    "pytorch-fid": ("half-pixel bilinear to 299×299", lambda x: half_pixel_bilinear(x, 299)),
    "clean-fid": ("PIL bicubic to 299×299", lambda x: (pil_bicubic(_byte_range(x), 299) - 128) / 128),
}
"""How images reach Inception, by the library whose numbers it gives. ADM's evaluator and TiTok's take the first."""
