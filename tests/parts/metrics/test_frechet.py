"""The Fréchet distance against scipy's matrix root, and its streaming statistics against NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.metrics.frechet import FeatureStatistics, frechet_distance


def features(count: int, dim: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim))


def statistics(x: torch.Tensor, batch: int = 1000) -> FeatureStatistics:
    found = FeatureStatistics(x.shape[1])
    for part in x.split(batch):
        found.update(part)
    return found


def by_root(x: torch.Tensor, y: torch.Tensor) -> float:
    a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    shift = np.square(x.numpy().mean(0) - y.numpy().mean(0)).sum()
    return shift + np.trace(a + b - 2 * sqrtm(a @ b).real)


@pytest.mark.parametrize("counts", [(90, 70), (12, 70), (70, 12), (12, 9), (25, 24), (24, 25)])
def test_the_distance_is_that_of_the_matrix_root(counts: tuple[int, int]) -> None:
    x, y = (features(n, 24, seed) for seed, n in enumerate(counts))
    ours = frechet_distance(statistics(x), statistics(y))
    assert ours == pytest.approx(by_root(x, y), rel=1e-6)
    assert ours == pytest.approx(frechet_distance(statistics(y), statistics(x)), rel=1e-9)


def test_equal_sets_have_no_distance() -> None:
    for count in (10, 100):
        x = features(count, 24, 0)
        assert frechet_distance(statistics(x), statistics(x.flip(0))) == pytest.approx(0, abs=1e-8)


def test_a_feature_that_never_fires_does_no_harm() -> None:
    x, y = features(90, 24, 0), features(80, 24, 1)
    want = frechet_distance(statistics(x), statistics(y))
    dead = [statistics(torch.cat([t, torch.zeros(len(t), 5)], 1)) for t in (x, y)]
    assert frechet_distance(*dead) == pytest.approx(want, rel=1e-9)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_batches_shards_and_their_order_change_nothing(sizes: list[int], rng) -> None:
    parts = [features(size, 20, seed).float() for seed, size in enumerate(sizes)]
    x = torch.cat(parts).double()
    if len(x) < 2:
        return
    shards = [statistics(part, 7) for part in parts]
    rng.shuffle(shards)
    for other in shards[1:]:
        shards[0].merge(other)
    assert shards[0].count == len(x)
    assert np.allclose(shards[0].mean, x.mean(0), rtol=1e-10, atol=1e-10)
    assert np.allclose(shards[0].covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-10, atol=1e-10)


def test_merging_leaves_the_other_as_it_was() -> None:
    first, second = statistics(features(30, 20, 0)), statistics(features(30, 20, 1))
    before = second.covariance
    first.merge(second)
    first.update(features(30, 20, 2))
    assert torch.equal(second.covariance, before)


@pytest.mark.parametrize("count", [10, 60])
def test_saved_statistics_give_the_same_distance(tmp_path: Path, count: int) -> None:
    x, y = features(count, 20, 0), features(70, 20, 1)
    statistics(x).save(tmp_path / "reference.npz")
    loaded = FeatureStatistics.load(tmp_path / "reference.npz")
    assert loaded.count == count
    want = frechet_distance(statistics(x), statistics(y))
    assert frechet_distance(loaded, statistics(y)) == pytest.approx(want, rel=1e-6)
    with pytest.raises(UsageError, match="further samples"):
        loaded.update(y)


def test_damaged_and_foreign_statistics(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(UsageError, match="no file"):
        FeatureStatistics.load(path)
    for content in ({"mean": np.ones(3)}, {"mu": np.ones(3), "sigma": np.ones((2, 3))}):
        np.savez(path, **content)
        with pytest.raises(DataError):
            FeatureStatistics.load(path)
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"x\.npz"):
        FeatureStatistics.load(path)


def test_bad_features_are_refused() -> None:
    with pytest.raises(ZelligeError, match="not finite"):
        statistics(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(UsageError):
        FeatureStatistics(3).update(torch.ones(2, 4))
    with pytest.raises(ZelligeError, match="at least 2 samples"):
        frechet_distance(statistics(torch.ones(1, 3)), statistics(torch.ones(1, 3)))
    with pytest.raises(UsageError, match="3 and 4"):
        frechet_distance(statistics(torch.ones(2, 3)), statistics(torch.ones(2, 4)))


def test_statistics_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZelligeError, match="cannot write"):
        statistics(features(10, 4, 0)).save(tmp_path / "missing" / "x.npz")
    assert list(tmp_path.iterdir()) == []
