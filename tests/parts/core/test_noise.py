from __future__ import annotations

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.core.noise import Noise, seeds_of

MASK = (1 << 64) - 1


def mix(x: int) -> int:
    """SplitMix64 in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def expected(seed: int, number: int) -> float:
    bits = mix((mix(seed) + (number + 1) * 0x9E3779B97F4A7C15) & MASK)
    return ((bits >> 12) + 0.5) / 2**52


def test_draws_are_those_of_splitmix64() -> None:
    noise = Noise([7, 2**63 + 5])
    drawn = torch.cat([noise.uniform(2, dtype=torch.float64), noise.uniform(3, dtype=torch.float64)], dim=1)
    assert drawn.tolist() == [[expected(seed, n) for n in range(5)] for seed in (7, 2**63 + 5)]


def test_the_first_output_of_the_published_generator() -> None:
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # of seed 0


@pytest.mark.parametrize("kind", ["uniform", "gumbel", "normal"])
def test_a_sample_draws_the_same_in_any_batch(kind: str) -> None:
    alone, among = Noise([5]), Noise([3, 5, 9])
    for shape in ((4,), (), (2, 3)):
        ours, theirs = getattr(alone, kind)(*shape), getattr(among, kind)(*shape)
        assert ours.shape == (1, *shape)
        assert torch.equal(ours[0], theirs[1])
        assert not torch.equal(theirs[0], theirs[1])


def test_distributions_have_their_moments() -> None:
    noise = Noise(range(50))
    uniform, gumbel, normal = noise.uniform(2000), noise.gumbel(2000), noise.normal(2000)
    assert uniform.min() > 0
    assert uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.005)
    assert uniform.var() == pytest.approx(1 / 12, abs=0.002)
    assert gumbel.mean() == pytest.approx(0.5772, abs=0.02)
    assert normal.mean() == pytest.approx(0, abs=0.02)
    assert normal.std() == pytest.approx(1, abs=0.02)
    neighbours = torch.corrcoef(normal)  # of seeds that follow one another
    assert (neighbours - torch.eye(50)).abs().max() < 0.1


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Noise([1]).normal(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds() -> None:
    assert seeds_of(4, 3) == [4, 5, 6]
    assert seeds_of([9, 1], 2) == [9, 1]
    assert len(set(seeds_of(None, 3))) == 3
    with pytest.raises(UsageError, match="2 seeds for 3 samples"):
        seeds_of([1, 2], 3)
    with pytest.raises(UsageError, match="from 0 up"):
        seeds_of(-1, 1)
