"""Latent perturbation on every discrete quantizer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parts.quantize.conftest import DISCRETE, build, draw
from zellige.core.errors import UsageError
from zellige.latent.perturb import perturb, perturb_first, perturb_ids
from zellige.quantize import GaussianQuantizer, Quantizer, VectorQuantizer

AROUND = ("feature", "code")


@pytest.fixture(params=DISCRETE)
def quantizer(request: pytest.FixtureRequest) -> Quantizer:
    return build(request.param).eval()


def query(around: str, z: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return z if around == "feature" else ids


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_each_id_becomes_the_neighbour_that_was_drawn(quantizer: Quantizer, around: str, alpha: float) -> None:
    z = draw(quantizer)
    ids, delta = quantizer.encode(z), min(quantizer.codebook)
    draws = torch.rand(ids.shape), torch.randint(delta, ids.shape)
    got = perturb_ids(quantizer, query(around, z, ids), ids, alpha=alpha, delta=delta, draws=draws)
    rank = torch.where(draws[0] <= alpha, draws[1], 0)
    listed = quantizer.neighbours(query(around, z, ids), delta)
    assert torch.equal(got, listed.gather(-1, rank[..., None])[..., 0])


@pytest.mark.parametrize("around", AROUND)
def test_the_share_that_changes_is_as_expected(quantizer: Quantizer, around: str) -> None:
    generator = torch.Generator().manual_seed(3)
    z, alpha, delta = draw(quantizer, batch=100), 0.6, 5
    ids = quantizer.encode(z)
    new = perturb_ids(quantizer, query(around, z, ids), ids, alpha=alpha, delta=delta, generator=generator)
    want = alpha * (1 - 1 / delta)
    assert abs(float((new != ids).double().mean()) - want) < 3 * math.sqrt(want * (1 - want) / ids.numel())


def test_only_the_first_samples_change(quantizer: Quantizer) -> None:
    z = draw(quantizer, batch=7)
    clean = quantizer(z)
    z_q = perturb(quantizer, z, clean, alpha=1.0, beta=0.5, delta=min(quantizer.codebook))
    moved = (z_q != clean.z_q).flatten(1).any(1)
    assert moved.tolist() == [True] * 3 + [False] * 4


def test_the_output_is_made_of_the_perturbed_codes(quantizer: Quantizer) -> None:
    z = draw(quantizer, batch=4)
    clean = quantizer(z)
    z_q, ids = perturb_first(quantizer, z, clean, 4, alpha=0.5, delta=5)
    torch.testing.assert_close(z_q, quantizer.lookup(ids))
    kept = quantizer.lookup(ids) == quantizer.lookup(clean.ids)
    still = kept.all(-1)
    assert torch.equal(z_q[still], clean.z_q[still])  # to the bit


def test_the_gradient_is_that_of_the_quantizer(quantizer: Quantizer) -> None:
    z = draw(quantizer, batch=4).requires_grad_()
    clean = quantizer(z)
    weight = torch.randn_like(clean.z_q)
    z_q = perturb(quantizer, z, clean, alpha=1.0, beta=0.5, delta=5)
    got, want = (torch.autograd.grad((x * weight).sum(), z, retain_graph=True)[0] for x in (z_q, clean.z_q))
    assert torch.equal(got, want)


@pytest.mark.parametrize(("alpha", "beta", "delta"), [(0.0, 1.0, 5), (1.0, 1.0, 1), (1.0, 0.0, 5), (1.0, 0.24, 5)])
def test_without_strength_nothing_changes(quantizer: Quantizer, alpha: float, beta: float, delta: int) -> None:
    z = draw(quantizer, batch=4)
    clean = quantizer(z)
    assert torch.equal(perturb(quantizer, z, clean, alpha=alpha, beta=beta, delta=delta), clean.z_q)


def test_half_precision_keeps_its_type(quantizer: Quantizer) -> None:
    z = draw(quantizer).bfloat16()
    clean = quantizer(z)
    z_q, ids = perturb_first(quantizer, z, clean, 2, alpha=1.0, delta=5)
    assert torch.equal(z_q[:2], quantizer.lookup(ids).bfloat16())


def test_residual_stages_keep_to_the_clean_residuals() -> None:
    """The neighbours of a stage are those of its residual, whatever was drawn for the stages before it."""
    quantizer = build("residual").eval()
    z = draw(quantizer)
    ids = quantizer.encode(z)
    p, j = torch.zeros(ids.shape), torch.randint(5, ids.shape)
    alone = j * (torch.arange(3) == 2)
    every, last = (perturb_ids(quantizer, z, ids, alpha=1.0, delta=5, draws=(p, drawn))[..., 2] for drawn in (j, alone))
    assert torch.equal(every, last)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31), st.floats(0, 1), st.booleans())
def test_as_the_released_algorithm(codes: int, dim: int, seed: int, alpha: float, normalize: bool) -> None:
    """Distances of all pairs, their order, one of each: with distinct distances there is one right answer."""
    generator = torch.Generator().manual_seed(seed)
    quantizer = VectorQuantizer(dim, codes, normalize=normalize).eval()
    quantizer.embedding.weight.data = torch.randn(codes, dim, generator=generator)
    z = torch.randn(2, 5, dim, generator=generator)
    delta = 1 + seed % codes
    p, j = torch.rand(2, 5, generator=generator), torch.randint(delta, (2, 5), generator=generator)
    new = perturb_ids(quantizer, z, quantizer.encode(z), alpha=alpha, delta=delta, draws=(p, j))
    table = quantizer.lookup(torch.arange(codes)).double()
    distances = torch.cdist(quantizer.embedding.project(z).double(), table)
    want = distances.sort(-1).values.gather(-1, torch.where(p > alpha, 0, j)[..., None])
    if alpha:
        torch.testing.assert_close(distances.gather(-1, new[..., None]), want, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_tokens_and_draws_in_the_official_order() -> None:
    quantizer = build("vq").eval()
    z = draw(quantizer)
    ids = quantizer.encode(z)
    first, second = (
        perturb_ids(quantizer, z, ids, alpha=0.5, delta=9, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    torch.manual_seed(1)
    draws = torch.rand(ids.numel()), torch.randint(0, 9, (ids.numel(),))
    assert torch.equal(first, second)
    assert torch.equal(first, perturb_ids(quantizer, z, ids, alpha=0.5, delta=9, draws=draws))
    torch.manual_seed(1)
    assert torch.equal(first, perturb_ids(quantizer, z, ids, alpha=0.5, delta=9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 21}, "delta=21 neighbours .* codebook of 20 codes"),
        ({"delta": 0}, "delta=0"),
        ({"alpha": 1.5}, "alpha, .* in \\[0, 1\\]; got 1.5"),
        ({"alpha": float("nan")}, "alpha"),
        ({"beta": -0.1}, "beta, .* got -0.1"),
        ({"around": "token"}, "unknown neighbourhood 'token'"),
        ({"draws": (torch.zeros(3), torch.zeros(3))}, "36 ids take as many draws; got 3 and 3"),
        ({"draws": (torch.zeros(36), torch.full((36,), 5))}, "0 to 4; got 5 to 5"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    quantizer = build("vq").eval()
    z = draw(quantizer)
    with pytest.raises(UsageError, match=message):
        perturb(quantizer, z, quantizer(z), **{"alpha": 1.0, "beta": 1.0, "delta": 5, **change})


def test_the_smallest_codebook_bounds_delta() -> None:
    quantizer = build("product-fsq").eval()
    z = draw(quantizer)
    with pytest.raises(UsageError, match=r"delta=21 .* the smallest codebook of 20 codes"):
        perturb_ids(quantizer, z, quantizer.encode(z), alpha=1.0, delta=21)


def test_continuous_latents_are_refused() -> None:
    quantizer = GaussianQuantizer(4)
    z = torch.zeros(1, 2, 8)
    with pytest.raises(UsageError, match="continuous latents"):
        perturb(quantizer, z, quantizer(z), alpha=1.0, beta=1.0, delta=2)
