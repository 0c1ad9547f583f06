"""Crops that cover an image, and distances over them."""

from __future__ import annotations

import pytest
import torch

from tests.parts.evaluate.test_rates import mean_colours
from zellige.evaluate.patches import MOST, SIDE, PatchDistances, crops
from zellige.metrics.frechet import FeatureStatistics, frechet_distance


@pytest.mark.parametrize(
    ("height", "width", "count", "shape"),
    [
        (512, 768, 6, (256, 256)),
        (256, 256, 1, (256, 256)),
        (300, 257, 4, (256, 256)),
        (40, 600, 3, (40, 256)),
        (SIDE * 9, 300, 2 * MOST, (256, 256)),
    ],
)
def test_crops_cover_what_is_not_too_large(height: int, width: int, count: int, shape: tuple[int, int]) -> None:
    image = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width).expand(1, 3, -1, -1)
    found = crops(image)
    assert (len(found), found.shape[-2:]) == (count, shape)
    assert (found.min(), found.max()) == (image.min(), image.max())  # from corner to corner
    if max(height, width) <= MOST * SIDE:
        assert len(found[:, 0].unique()) == height * width


def test_the_distance_is_that_of_all_crops_and_small_images_are_left_out() -> None:
    torch.manual_seed(0)
    originals, versions = torch.rand(2, 3, 1, 3, 300, 260)
    network = mean_colours()
    patches, real, fake = PatchDistances(network), FeatureStatistics(12), FeatureStatistics(12)
    patches.add_original(torch.zeros(1, 3, 20, 400))
    patches.add("blurred", torch.zeros(1, 3, 20, 400))
    assert patches.measure("blurred") is None
    for original, version in zip(originals, versions, strict=True):
        patches.add_original(original)
        patches.add("blurred", version)
        patches.add("same", original)
        real.update(network(as_bytes(crops(original))))
        fake.update(network(as_bytes(crops(version))))
    found = patches.measure("blurred")
    assert found is not None
    assert found.value == pytest.approx(frechet_distance(real, fake), rel=1e-6)
    assert found.protocol.samples == 12
    same = patches.measure("same")
    assert same is not None
    assert same.value == pytest.approx(0, abs=1e-9)


def as_bytes(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels + 1) * 127.5).round() / 127.5 - 1
