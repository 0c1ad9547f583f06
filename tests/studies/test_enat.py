"""The study of masked generators at its quick scale, and the costs it counts."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from studies.enat import runs
from studies.enat.__main__ import main
from studies.enat.cost import generation_cost, operations
from studies.enat.report import tables_of, verdict
from zellige.core.registry import build

TOKENS = {"layout": ((4, 4),), "codebook": (17,), "classes": 3}


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, output = data / "work", data / "output"
    options = ["--data", str(data), "--seeds", "1", "--scale", "quick", "--work", str(work), "--output", str(output)]
    main(options)
    path = output / "enat.json"
    record = json.loads(path.read_text("utf-8"))
    assert [run["arm"] for run in record["runs"]] == ["6+2", "2+6", "no reuse", "uniform"]
    for run in record["runs"]:
        assert run["nats"] == pytest.approx([math.log(32)] * 6, abs=0.5)  # two steps from guessing among 32 codes
    costs = record["costs"]
    steps = {run["arm"]: run["steps"] for run in record["runs"]}
    assert steps["2+6"] <= steps["6+2"] == steps["no reuse"] == 2
    assert costs["2+6"]["training"] > costs["6+2"]["training"]  # most tokens are masked
    assert "reused" in record["runs"][0]
    assert len(set(record["runs"][3]["distances"].values())) == 5
    assert str(data) not in path.read_text("utf-8")

    monkeypatch.setattr(runs, "measure", None)  # finished runs are not repeated
    monkeypatch.setattr("studies.runs.GeneratorRun", None)
    main(options)
    assert json.loads(path.read_text("utf-8")) == record
    assert record["frequencies"] == pytest.approx(math.log(32), abs=2)
    assert "open, as not all" in tables_of(record)  # two steps teach nothing
    assert "| below 0: met: 1 of 1 seeds |" in tables_of(known(record))


def known(record: dict[str, Any]) -> dict[str, Any]:
    """The record of generators that have learned, the first the most."""
    runs = [run | {"nats": [1.0 + number / 10] * 6} for number, run in enumerate(record["runs"])]
    return record | {"runs": runs}


def test_operations_are_those_of_products() -> None:
    layer, x = torch.nn.Linear(8, 4), torch.zeros(3, 8)
    assert operations(lambda: (layer(x), layer(x), x @ x.T), [layer]) == (4 * 3 * 8 * 4 + 2 * 3 * 8 * 3, 4 * 3 * 8 * 4)


def test_reuse_saves_operations_of_the_encoder_alone() -> None:
    enat = build("enat", **TOKENS, dim=32, heads=4, encoder_depth=4, decoder_depth=1)
    maskgit = build("maskgit", **TOKENS, dim=32, heads=4, depth=4, hidden=64)
    cost = generation_cost(enat)  # type: ignore[arg-type]
    assert cost.anew - cost.total == cost.encoder_anew - cost.encoder > 0
    assert 0.3 < cost.saved < 1
    whole = generation_cost(maskgit)  # type: ignore[arg-type]
    assert (whole.total, whole.encoder, whole.saved) == (whole.anew, 0, 0.0)


def test_the_masks_of_a_chain_are_nested_and_the_same_for_all() -> None:
    torch.manual_seed(0)
    model = build("enat", **TOKENS, dim=32, heads=4, encoder_depth=1, decoder_depth=1).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))  # the gates of a fresh one are zero
    ids, labels = torch.randint(17, (3, 16)), torch.tensor([0, 1, 2])
    seen: list[torch.Tensor] = []
    features = model.features
    model.features = lambda ids, masked, *rest: seen.append(masked) or features(ids, masked, *rest)  # type: ignore
    first = runs.cross_entropy(model, ids, labels, [1.0, 0.5, 0.25])  # type: ignore[arg-type]
    assert [int(masked.sum()) for masked in seen] == [48, 24, 12]
    assert all(bool((small <= large).all()) for large, small in pairwise(seen))
    assert runs.cross_entropy(model, ids, labels, [1.0, 0.5, 0.25]) == first  # type: ignore[arg-type]
    assert torch.equal(seen[1], seen[4])
    assert runs.cross_entropy(model, ids, labels, [1.0, 0.5, 0.25], anew=True) != first  # type: ignore[arg-type]


def test_verdict() -> None:
    assert verdict([True, True]) == "met: 2 of 2 seeds"
    assert verdict([True, False]) == "not met: 1 of 2 seeds"
