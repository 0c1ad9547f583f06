"""pFID's grid and sums: the rule, what is refused, one distance a cell against shared references, merging."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError, ZelligeError
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import ImageFeatures
from zellige.metrics.perturbed import Cell, PerturbationGrid, PerturbedDistances


def network(name: str = "tiny", distance: str = "") -> ImageFeatures:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3)
    return ImageFeatures(name, 4, conv, lambda x: conv(x).amax((2, 3)), lambda x: x, "native size", distance)


def images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_usual_grid() -> None:
    grid = PerturbationGrid()
    cells = grid.cells((4096,))
    assert len(cells) == 15
    assert cells[:4] == (Cell(0.5, 200), Cell(0.5, 280), Cell(0.5, 360), Cell(0.6, 200))
    assert grid.describe() == (
        "α ∈ {0.5, 0.6, 0.7, 0.8, 0.9}, δ ∈ {200, 280, 360}, around the feature, all images, seed 0"
    )


@pytest.mark.parametrize(
    ("codes", "deltas"),
    [
        (4096, [200, 280, 360]),
        (16384, [800, 1120, 1440]),
        (8192, [400, 560, 720]),
        (256, [12, 18, 22]),
        (64, [3, 4, 6]),
    ],
)
def test_deltas_scale_with_the_codebook(codes: int, deltas: list[int]) -> None:
    grid = PerturbationGrid(alphas=(0.5,), scale=True)
    assert [cell.delta for cell in grid.cells((codes,))] == deltas
    assert "δ ∈ {200, 280, 360} · K/4096" in grid.describe()


def test_scaled_deltas_are_two_at_least_and_each_is_there_once() -> None:
    assert PerturbationGrid(alphas=(0.5,), scale=True).cells((16,)) == (Cell(0.5, 2),)
    several = PerturbationGrid(alphas=(0.5,), deltas=(200,), scale=True).cells((4096, 1024))
    assert several == (Cell(0.5, 50),)  # the smallest sub-codebook counts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alphas": ()}, "empty"),
        ({"deltas": ()}, "empty"),
        ({"alphas": (0.5, 1.01)}, r"\[0, 1\]; got 1.01"),
        ({"alphas": (-0.1,)}, r"\[0, 1\]; got -0.1"),
        ({"alphas": (float("nan"),)}, r"\[0, 1\]; got nan"),
        ({"deltas": (0,)}, "1 or more; got 0"),
        ({"deltas": (4, 4)}, "one delta twice"),
        ({"around": "features"}, "did you mean feature"),
    ],
)
def test_a_grid_that_cannot_be(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PerturbationGrid(**settings)  # type: ignore[arg-type]


def test_a_codebook_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match="delta 360 of pFID exceeds the codebook of 256 codes"):
        PerturbationGrid().cells((4096, 256))
    with pytest.raises(UsageError, match="continuous"):
        PerturbationGrid().cells(())


def test_names_follow_the_network() -> None:
    grid = PerturbationGrid(alphas=(0.5,), deltas=(4,))
    assert PerturbedDistances(FeatureDistances(network(distance="FID")), grid, (16,)).name == "pFID"
    assert PerturbedDistances(FeatureDistances(network()), grid, (16,)).name == "pFD-tiny"


def fill(found: PerturbedDistances, seeds: range) -> None:
    for seed in seeds:
        found.clean.update(images(5, seed), images(5, seed + 100))
        for i, cell in enumerate(found.cells):
            found.add(cell, images(5, seed + 1000 * (i + 2)), changed=i + 1, tokens=10)


def test_a_cell_is_a_distance_to_the_shared_references() -> None:
    grid = PerturbationGrid(alphas=(0.5, 0.9), deltas=(4,))
    found = PerturbedDistances(FeatureDistances(network()), grid, (16,))
    fill(found, range(3))
    alone = FeatureDistances(network())
    for seed in range(3):
        alone.update(images(5, seed), images(5, seed + 3000))
    cells = [found.distance(cell) for cell in found.cells]
    assert cells[1].value == alone.compute()[0].value
    assert cells[1].protocol.title == "FD-tiny, α 0.9, δ 4"
    assert cells[1].protocol.conditions == "around the feature, all images, seed 0"
    (mean,) = found.compute()
    assert mean.value == pytest.approx((cells[0].value + cells[1].value) / 2, rel=1e-12)
    assert mean.protocol.metric == "pFD-tiny"
    assert grid.describe() in mean.protocol.conditions
    assert [found.changed(cell) for cell in found.cells] == pytest.approx([0.1, 0.2])
    assert found.needed == 5


def test_parts_of_a_set_merge_into_the_whole() -> None:
    grid = PerturbationGrid(alphas=(0.5, 0.9), deltas=(2, 4))
    whole, first, second = (PerturbedDistances(FeatureDistances(network()), grid, (16,)) for _ in range(3))
    fill(whole, range(4))
    fill(first, range(1))
    fill(second, range(1, 4))
    second.merge(first)
    for cell in whole.cells:
        assert second.distance(cell).value == pytest.approx(whole.distance(cell).value, rel=1e-9)
        assert second.changed(cell) == whole.changed(cell)
    other = PerturbedDistances(FeatureDistances(network()), PerturbationGrid(alphas=(0.5,), deltas=(2,)), (16,))
    with pytest.raises(UsageError, match="two grids"):
        second.merge(other)


def test_one_image_is_too_few() -> None:
    found = PerturbedDistances(FeatureDistances(network()), PerturbationGrid(alphas=(0.5,), deltas=(2,)), (16,))
    found.clean.update(images(1, 0), images(1, 1))
    found.add(found.cells[0], images(1, 2), 1, 10)
    with pytest.raises(ZelligeError, match="2 or more"):
        found.compute()
