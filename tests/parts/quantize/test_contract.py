"""What every discrete quantizer promises, whatever its kind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.parts.quantize.conftest import DISCRETE, build, draw
from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens
from zellige.quantize import QUANTIZERS, FiniteScalarQuantizer, Quantizer

SINGLE = [case for case in DISCRETE if not case.startswith(("product", "residual", "multiscale"))]
"""Those with one codebook at one place; the neighbours of the others are those of their parts."""


def test_forward_encode_and_lookup_agree(quantizer: Quantizer, z: torch.Tensor) -> None:
    out = quantizer(z)
    assert out.ids.dtype == torch.int64
    assert torch.equal(out.ids, quantizer.encode(z))
    assert out.z_q.shape == (3, 12, quantizer.dim)
    torch.testing.assert_close(quantizer.lookup(out.ids), out.z_q, rtol=1e-5, atol=1e-6)
    tokens = Tokens(out.ids, quantizer.layout((3, 4)), quantizer.codebook)
    assert (out.ids >= 0).all()
    assert (out.ids < torch.tensor(quantizer.codebook)).all()
    assert tokens.num_tokens == out.ids.shape[1]


def test_gradient_passes_straight_through(case: str, quantizer: Quantizer, z: torch.Tensor) -> None:
    """The gradient of z_q is that of z, after whatever bounds z before it is quantized."""
    weight = torch.randn(3, 12, quantizer.dim)
    got = z.clone().requires_grad_()
    (quantizer(got).z_q * weight).sum().backward()
    want = z.clone().requires_grad_()
    (before_quantization(case, quantizer, want) * weight).sum().backward()
    torch.testing.assert_close(got.grad, want.grad, rtol=1e-4, atol=1e-6)


def before_quantization(case: str, quantizer: Quantizer, z: torch.Tensor) -> torch.Tensor:
    if case.endswith("normalized") or case in ("bsq", "multiscale-sign"):
        return F.normalize(z, dim=-1)
    if case == "product-fsq":
        return torch.cat(
            [bounded(group, part) for group, part in zip(quantizer.groups, z.split(2, -1), strict=True)], -1
        )
    return bounded(quantizer, z) if case == "fsq" else z


def bounded(quantizer: FiniteScalarQuantizer, z: torch.Tensor) -> torch.Tensor:
    levels = torch.tensor(quantizer.levels)
    half = (levels - 1) * (1 - 1e-3) / 2
    offset = torch.where(levels % 2 == 0, 0.5, 0.0)
    return (torch.tanh(z + torch.tan(offset / half)) * half - offset) / (levels // 2)


def test_nearest_neighbour_is_the_code(quantizer: Quantizer, z: torch.Tensor) -> None:
    size = quantizer.codebook[0]
    ids = quantizer.encode(z)
    for query in (z, ids):
        for k in (1, 4, size):
            found = quantizer.neighbours(query, k)
            assert found.shape == (*ids.shape, k)
            assert torch.equal(found[..., 0], ids)
        every = found.sort(-1).values  # k = K: each code once
        assert torch.equal(every, torch.arange(size).expand_as(every))


@pytest.mark.parametrize("case", SINGLE)
def test_neighbours_of_latents_are_ordered_by_distance(case: str, quantizer: Quantizer, z: torch.Tensor) -> None:
    vectors = before_quantization(case, quantizer, z)
    codes = quantizer.lookup(torch.arange(quantizer.codebook[0]))
    distances = torch.cdist(vectors.double().flatten(0, 1), codes.double()).view(3, 12, -1)
    got = distances.gather(-1, quantizer.neighbours(z, 7))
    torch.testing.assert_close(got, distances.sort(-1).values[..., :7], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", SINGLE)
def test_neighbours_of_ids_are_ordered_by_distance(quantizer: Quantizer, z: torch.Tensor) -> None:
    ids = quantizer.encode(z)
    codes = quantizer.lookup(torch.arange(quantizer.codebook[0])).double()
    distances = torch.cdist(codes, codes)[ids]
    got = distances.gather(-1, quantizer.neighbours(ids, 7))
    torch.testing.assert_close(got, distances.sort(-1).values[..., :7], rtol=1e-5, atol=1e-6)


def test_too_many_neighbours_is_a_clear_error(quantizer: Quantizer, z: torch.Tensor) -> None:
    size = max(quantizer.codebook)
    with pytest.raises(UsageError, match=rf"k={size + 1}\b.* {quantizer.codebook[0]} codes"):
        quantizer.neighbours(z, size + 1)
    with pytest.raises(UsageError, match="k=0"):
        quantizer.neighbours(quantizer.encode(z), 0)


def test_ids_do_not_depend_on_autocast(quantizer: Quantizer, z: torch.Tensor) -> None:
    plain = quantizer(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.encode(z), plain.ids)
        assert torch.equal(quantizer(z).ids, plain.ids)
        assert torch.equal(quantizer.neighbours(z, 3), quantizer.neighbours(z, 3))
    half = z.bfloat16()
    assert torch.equal(quantizer.encode(half), quantizer.encode(half.float()))
    assert quantizer(half).z_q.dtype == torch.bfloat16


def test_ids_do_not_depend_on_the_batch(quantizer: Quantizer, z: torch.Tensor) -> None:
    ids = quantizer.encode(z)
    assert torch.equal(quantizer.encode(z), ids)
    assert torch.equal(torch.cat([quantizer.encode(sample) for sample in z.split(1)]), ids)


def test_gradients_reach_every_parameter_and_the_latents(case: str) -> None:
    quantizer = build(case).train()
    z = draw(quantizer).requires_grad_()
    out = quantizer(z)
    assert all(torch.isfinite(loss) for loss in out.losses.values())
    (out.z_q.square().sum() + sum(out.losses.values())).backward()
    assert z.grad.abs().sum() > 0
    for name, parameter in quantizer.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().sum() > 0, name


def test_training_twice_from_one_seed_is_the_same(case: str) -> None:
    states = []
    for _ in range(2):
        quantizer = build(case).train()
        torch.manual_seed(3)
        for seed in range(3):
            out = quantizer(draw(quantizer, seed=seed))
        states.append({**quantizer.state_dict(), "z_q": out.z_q.detach()})
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_evaluation_changes_nothing(quantizer: Quantizer, z: torch.Tensor) -> None:
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer(z)
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


def test_state_survives_a_round_trip(case: str) -> None:
    trained = build(case).train()
    trained(draw(trained))
    z = draw(trained, seed=5)
    other = build(case)
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1.0)
    other.load_state_dict(trained.state_dict())
    assert torch.equal(other.eval().encode(z), trained.eval().encode(z))
    assert torch.equal(other.lookup(other.encode(z)), trained.lookup(trained.encode(z)))


def test_every_quantizer_has_a_case() -> None:
    assert {name for name, _, _ in DISCRETE.values()} | {"gaussian"} == set(QUANTIZERS)


def test_statistics_describe_the_batch(quantizer: Quantizer, z: torch.Tensor) -> None:
    stats = quantizer.quantize(z).stats
    assert set(stats) == {"usage", "perplexity", "entropy"}
    assert not any(value.requires_grad for value in stats.values())
    assert 0 < stats["usage"] <= 1
    assert 1 <= stats["perplexity"] <= max(quantizer.codebook) * (1 + 1e-9)
    same = quantizer(torch.zeros_like(z)).stats
    assert same["entropy"] <= stats["entropy"]


def test_wrong_dimension_is_a_clear_error(quantizer: Quantizer) -> None:
    wrong = torch.zeros(2, 12, quantizer.dim + 1)
    with pytest.raises(UsageError, match=str(quantizer.dim)):
        quantizer(wrong)
    with pytest.raises(UsageError, match=str(quantizer.dim)):
        quantizer.encode(wrong)
