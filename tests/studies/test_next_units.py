"""The studies of VAR, FlowAR and xAR at their quick scale, and what their figures mean on models of known answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from studies import flowar, runs, var, xar
from studies.latents import LatentSet
from zellige.core.registry import build


def options(data: Path) -> list[str]:
    """Of a quick run that stays within the test's folder."""
    places = ["--work", str(data / "work"), "--output", str(data / "output")]
    return ["--data", str(data), "--scale", "quick", "--seeds", "1", *places]


@pytest.mark.parametrize("study", [var, flowar, xar], ids=lambda study: study.NAME)
def test_quick_study(study: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study.main(options(data))
    path = data / "output" / f"{study.NAME}.json"
    record = json.loads(path.read_text("utf-8"))
    assert str(data) not in path.read_text("utf-8")
    assert record["setting"]["steps"] == 2
    assert [found["arm"] for found in record["runs"]][:2] == list(study.ARMS)
    for name in ("train_tokenizer", "GeneratorRun"):  # finished runs are not repeated
        monkeypatch.setattr(runs, name, None)
    study.main(options(data))
    assert json.loads(path.read_text("utf-8"))["runs"] == record["runs"]


def latents(count: int = 6) -> LatentSet:
    """Of no image."""
    generator = torch.Generator().manual_seed(0)
    return LatentSet(torch.randn(count, 16, 3, generator=generator), torch.arange(count) % 3, ((4, 4),), 0.0)


def small(system: str, **settings: Any) -> Any:
    """A model with no weight at zero."""
    torch.manual_seed(0)
    size = {"dim": 16, "depths": (1, 1), "heads": (2, 2), "layout": ((4, 4),), "latent_dim": 3, "classes": 3}
    model = build(f"{system}/small", **size, **settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_a_pooled_condition_is_the_same_at_every_token() -> None:
    model = small("flowar", head_width=16, head_depth=1)
    x, times, condition = torch.randn(2, 16, 3), torch.rand(2), torch.randn(2, 16, 16)
    with torch.no_grad():
        mean = model.velocity(x, times, condition.mean(1, keepdim=True).expand_as(condition), 2)
        assert not torch.allclose(model.velocity(x, times, condition, 2), mean)
        flowar.pool(model)
        torch.testing.assert_close(model.velocity(x, times, condition, 2), mean)


def test_the_mean_velocity_is_what_a_constant_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    model, held_out = small("flowar", head_width=16, head_depth=1), latents(512)
    means = [target.mean(0) for target in model.targets(held_out.latents)]
    monkeypatch.setattr(model, "velocity", lambda x, times, condition, index: -means[index].expand_as(x))
    found = flowar.judged(model, held_out, 1)
    assert found["loss"] == pytest.approx(found["mean"], rel=0.03)
    assert found["shuffled"] == found["finest"]


def test_errors_of_the_context_reach_the_last_cell_alone_in_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says the first token of the context: what it is wrong by is known."""
    model, held_out = small("xar"), latents(64)
    monkeypatch.setattr(xar, "load", lambda name: model)
    shown: list[tuple[torch.Tensor, torch.Tensor]] = []

    def velocity(x: torch.Tensor, times: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        shown.append((x, times))
        return x[:, :1].expand_as(x)

    monkeypatch.setattr(model, "velocity", velocity)
    found = xar.exposed(Path(), held_out)["errors"]
    assert list(found) == ["0", "0.1", "0.2", "0.3", "0.5"]
    assert sorted(found.values()) == list(found.values())
    grown = found["0.5"] - found["0"]
    assert grown == pytest.approx(0.25, abs=0.15)  # the variance of the error, and a chance covariance
    for (x, times), (clean, _) in zip(shown[1:5], [shown[0]] * 4, strict=True):
        assert not times[:, :-1].any()
        assert (times[:, -1] > 0).all()
        torch.testing.assert_close(x[:, -4:], clean[:, -4:])
        assert (x[:, :-4] != clean[:, :-4]).any()


def test_verdicts() -> None:
    def run(arm: str, values: list[float]) -> dict[str, Any]:
        return {"arm": arm, "seed": 0, "psnr": values, "used": 0.5}

    shown = var.quality_table([run("pyramid", [1.0, 2.0, 1.5, 3.0]), run("single map", [2.0])])
    assert [line.rpartition(": ")[2] for line in shown.splitlines() if "above" in line] == [
        "met |",
        "not met |",
        "met |",
        "met |",
    ]
    errors = {"0": 0.5, "0.1": 0.5, "0.2": 0.51, "0.3": 0.5, "0.5": 0.5}
    arms = [
        {"arm": arm, "errors": errors | {"0.2": error}, "distance": 1.0}
        for arm, error in (("noisy context", 0.51), ("teacher forcing", 0.52))
    ]
    assert "−0.0100 | below 0: met" in xar.exposure_table(arms)
    assert "+0.0100 | below 0: not met" in xar.exposure_table(
        [arms[0] | {"errors": arms[1]["errors"]}, arms[1] | {"errors": arms[0]["errors"]}]
    )
