"""xAR: the cache changes nothing, later units have no say, and what training shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens, TokenSpec
from zellige.generate.cells import UNITS
from zellige.systems.xar import XAR

SMALL: dict[str, Any] = {"layout": ((4, 4),), "latent_dim": 3, "classes": 3, "dim": 32, "heads": (4, 2), "steps": 3}


def made(**settings: Any) -> XAR:
    """No weight at zero, nothing left out in training."""
    torch.manual_seed(0)
    model = build("xar", **{**SMALL, "depths": (2, 1), "dropout": 0.0, "class_dropout": 0.0, **settings})
    assert isinstance(model, XAR)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


@pytest.mark.parametrize("stochastic", [True, False], ids=["sde", "ode"])
@pytest.mark.parametrize("unit", UNITS)
def test_cached_sampling_is_that_of_the_whole_prefix(unit: str, stochastic: bool, monkeypatch: Any) -> None:
    """Every velocity that sampling asked for is that of a pass over all units, those before clean at t = 0."""
    model = made(unit=unit, layout=((2, 2),) if unit == "patch" else ((4, 4),))
    labels, guidance = torch.tensor([0, 2]), 2.0
    asked: list[tuple[int, float, Tensor, Tensor]] = []
    forward, sizes = model.trunk.forward, model.units.sizes

    def record(x: Tensor, condition: Tensor, **where: Any) -> Tensor:
        features = forward(x, condition, **where)
        if "caches" in where:
            asked.append((where["caches"][0].length, 0.0, x, features))
        return features

    times: list[float] = []
    modulating = model.modulating
    monkeypatch.setattr(model, "modulating", lambda t, v: (times.append(float(t[0, 0])), modulating(t, v))[1])
    monkeypatch.setattr(model.trunk, "forward", record)
    grid = "stop-short" if stochastic else "uniform"
    drawn = model.sample(labels, seed=0, guidance=guidance, stochastic=stochastic, grid=grid).data
    final = model.units.split(drawn)
    assert len(asked) == len(sizes) * 3 + len(sizes) - 1
    monkeypatch.undo()
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    embedded = model.embed(final) if unit != "scale" else None
    for (start, _, x, features), time in zip(asked, times, strict=True):
        index = starts.index(start)
        if embedded is None and index:  # coarser scales are gone from the result
            continue
        rows, slots = len(x), slice(start, start + sizes[index])
        whole = torch.zeros(rows, sum(sizes), 32) if embedded is None else embedded.repeat(rows // 2, 1, 1).clone()
        whole[:, slots] = x
        t = torch.zeros(rows, len(sizes))
        t[:, index] = time
        vector = model.condition(torch.cat([labels, torch.full_like(labels, 3)])[:rows])
        condition = model.units.repeat(model.modulating(t, vector))
        seen = model.trunk(whole, condition, mask=model.mask, rotary=model.rotary())
        torch.testing.assert_close(features, seen[:, slots], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unit", ["cell", "subsample", "scale", "patch"])
def test_a_unit_has_no_influence_on_those_before_it(unit: str) -> None:
    model = made(unit=unit)
    sizes = model.units.sizes
    x, times, labels = torch.randn(1, sum(sizes), 3), torch.rand(1, len(sizes)), torch.tensor([1])
    unit_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    with torch.no_grad():
        before = model.velocity(x, times, labels)
        for index in range(len(sizes)):
            moved = (model.velocity(x + (unit_of == index)[:, None], times, labels) - before).abs().amax(-1)[0]
            assert not moved[unit_of < index].any()
            assert (moved[unit_of >= index] > 0).all()
            later = times.clone()
            later[0, index] = 1 - later[0, index] / 2
            moved = (model.velocity(x, later, labels) - before).abs().amax(-1)[0]
            assert not moved[unit_of < index].any()


def test_the_first_unit_is_not_guided_and_the_last_one_is() -> None:
    model = made()
    first, last = torch.arange(16).view(4, 4)[:2, :2].flatten(), torch.arange(16).view(4, 4)[2:, 2:].flatten()
    plain, guided = (model.sample(0, seed=0, guidance=w).data for w in (1.0, 5.0))
    torch.testing.assert_close(plain[:, first], guided[:, first])
    assert (plain[:, last] - guided[:, last]).abs().max() > 1e-3


def test_noise_in_the_context_is_for_training_with_it_alone(monkeypatch: Any) -> None:
    shown: list[Tensor] = []
    for noisy in (True, False):
        model = made(noisy_context=noisy)
        velocity = model.velocity
        monkeypatch.setattr(model, "velocity", lambda x, t, y, inner=velocity: (shown.append(t), inner(x, t, y))[1])
        tokens = Tokens(None, ((4, 4),), latents=torch.randn(64, 16, 3))
        assert torch.isfinite(model.loss(tokens, 0)["flow"])
    noisy_times, clean_times = shown
    assert noisy_times.shape == (64, 4)
    assert ((noisy_times > 0) & (noisy_times < 1)).all()
    assert noisy_times.std(1).min() > 0  # of each unit its own
    clean = clean_times == 0
    assert torch.equal(clean, clean.cummin(1).values)  # clean units, then noisy ones
    assert set(clean.sum(1).tolist()) == {0, 1, 2, 3}


def test_teacher_forcing_learns_from_the_unit_after_the_clean_ones(monkeypatch: Any) -> None:
    model = made(noisy_context=False)
    x = torch.randn(4, 16, 3)
    times = torch.tensor([[0.0, 0.4, 0.3, 0.6]] * 4)
    counts = torch.tensor([[0.0, 1.0, 0.0, 0.0]] * 4)
    monkeypatch.setattr(model, "_times", lambda count: (times, counts))
    monkeypatch.setattr(torch, "randn_like", lambda like: torch.ones_like(like))
    loss = model.loss(Tokens(None, ((4, 4),), latents=x), 0)["flow"]
    sequence, t = model.units.split(x), model.units.repeat(times)[..., None]
    with torch.no_grad():
        found = model.velocity((1 - t) * sequence + t, times, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(loss, (found - (1 - sequence))[:, 4:8].square().mean())


def test_what_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="xar models continuous latents"):
        build("xar", for_tokens=TokenSpec(((4, 4),), (16,)))
    with pytest.raises(UsageError, match="set divisions"):
        build("xar", for_tokens=TokenSpec(((5, 5),), (), 4))
    assert build("xar", for_tokens=TokenSpec(((6, 4),), (), 4), dim=16, heads=(2, 2), depths=(1, 1)).spec.dim == 4
    with pytest.raises(UsageError, match="kind of unit"):
        made(unit="row")
    with pytest.raises(UsageError, match="steps"):
        made().sample(0, steps=0)
