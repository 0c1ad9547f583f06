"""Finite scalar quantization: levels, ids, bounds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zellige.core.errors import UsageError
from zellige.quantize import BinaryQuantizer, FiniteScalarQuantizer

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple)


@settings(deadline=None)
@given(LEVELS, st.integers(0, 2**31))
def test_any_latent_gets_a_valid_id(levels: tuple[int, ...], seed: int) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(1, 20, len(levels), generator=generator) * torch.tensor([1.0, 1e4])[:, None, None]
    ids = quantizer.encode(z)
    assert ((ids >= 0) & (ids < math.prod(levels))).all()
    assert quantizer.lookup(ids).abs().max() <= 1


@settings(deadline=None)
@given(LEVELS)
def test_every_code_is_reached(levels: tuple[int, ...]) -> None:
    """A dense sweep of each dimension meets all its levels, in order."""
    sweep = torch.linspace(-6, 6, 4000)[None, :, None].expand(-1, -1, len(levels))
    quantizer = FiniteScalarQuantizer(levels)
    z_q = quantizer(sweep).z_q[0]
    for d, level in enumerate(levels):
        values = z_q[:, d].unique()
        assert len(values) == level
        torch.testing.assert_close(values, (torch.arange(level) - level // 2) / (level // 2))
        assert (z_q[1:, d] >= z_q[:-1, d] - 1e-6).all()


def test_first_level_is_fastest() -> None:
    quantizer = FiniteScalarQuantizer((3, 5))
    grid = quantizer.lookup(torch.arange(15))
    assert torch.equal(grid[:4, 0], torch.tensor([-1.0, 0.0, 1.0, -1.0]))
    assert torch.equal(grid[:4, 1], torch.tensor([-1.0, -1.0, -1.0, -0.5]))


def test_bits_are_little_endian() -> None:
    z = torch.tensor([[[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]]])
    assert BinaryQuantizer.lookup_free(3).encode(z).tolist() == [[1, 6]]
    assert BinaryQuantizer.on_sphere(3).lookup(torch.tensor([4])).tolist() == [
        pytest.approx([-(3**-0.5), -(3**-0.5), 3**-0.5])
    ]


def test_a_model_cast_to_bfloat16_keeps_its_ids() -> None:
    z = torch.randn(1, 500, 6)
    quantizer = FiniteScalarQuantizer((8, 8, 8, 5, 5, 5))
    want = quantizer.encode(z)
    assert torch.equal(quantizer.bfloat16().encode(z), want)


@pytest.mark.parametrize(
    ("levels", "dim", "match"),
    [((), None, "levels"), ((8, 1), None, "levels"), ((8, 8), 3, "dim=2"), ((256,) * 8, None, "int64")],
)
def test_impossible_levels_are_clear_errors(levels: tuple[int, ...], dim: int | None, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        FiniteScalarQuantizer(levels, dim)
