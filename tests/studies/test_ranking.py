"""Rank correlations against scipy's, and the study that needs them at its quick scale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from studies.common import digest
from studies.ranks import bootstrap, chance, kendall, ranks, spearman
from studies.robusttok import pairs, ranking
from studies.robusttok.generation import Generation
from studies.robusttok.ranking import GENERATORS, VARIANTS, main, verdict
from studies.robusttok.settings import SETTINGS


@pytest.mark.parametrize("levels", [1000, 4])  # of 4 levels many are tied
def test_correlations_are_scipys(levels: int) -> None:
    x, y = np.random.default_rng(0).integers(levels, size=(2, 5, 9)).astype(float)
    assert (ranks(x) == stats.rankdata(x, axis=-1)).all()
    assert spearman(x, y) == pytest.approx([stats.spearmanr(*row).statistic for row in zip(x, y, strict=True)])
    assert kendall(x, y) == pytest.approx([stats.kendalltau(*row).statistic for row in zip(x, y, strict=True)])


def test_correlation_with_a_constant_is_no_number() -> None:
    x, constant = np.arange(4.0), np.ones(4)
    assert math.isnan(spearman(x, constant))
    assert math.isnan(chance(x, constant))
    assert all(map(math.isnan, bootstrap(x, constant, of=spearman)))


def test_chance_is_the_share_of_orders() -> None:
    x = np.arange(5.0)
    assert chance(x, x**3) == pytest.approx(2 / 120, abs=0.005)  # of all orders, the same one and its reverse
    y = np.array([1.0, 0.0, 3.0, 2.0, 4.0])
    assert chance(x, y) == pytest.approx(
        stats.permutation_test(
            (x,), lambda drawn: spearman(drawn, y), permutation_type="pairings", n_resamples=np.inf
        ).pvalue,
        abs=0.015,
    )


def test_bootstrap_interval_holds_the_correlation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    low, high = bootstrap(x, y, of=spearman)
    assert low < spearman(x, y) < high
    assert high - low == pytest.approx(4 * 0.08, abs=0.15)  # about 4·(1 − ρ²)/√n
    assert bootstrap(x, x, of=spearman) == (pytest.approx(1), pytest.approx(1))


def test_tokenizers_and_generators_of_other_studies_are_shared() -> None:
    base, first = VARIANTS["512"].setting, GENERATORS["next token"]
    assert (base, first) == (SETTINGS["cifar10"], Generation())
    apart = set()
    for variant in VARIANTS.values():
        recipe = variant.setting.recipe(Path(), variant.arm, 0)
        apart.add(digest([variant.arm, pairs.text(recipe), pairs.text(variant.setting.finishing(recipe, Path()))]))
    assert len(apart) == len(VARIANTS) >= 8


def test_runs_kept_by_earlier_versions_are_found() -> None:
    """Folders of runs are named by what was set: text that changes would have everything trained again."""
    setting, names = SETTINGS["cifar10"], []
    for arm in ("plain", "robust"):
        recipe = setting.recipe(Path(), arm, 0)
        names.append(digest([pairs.text(recipe), pairs.text(setting.finishing(recipe, Path()))]))
    assert names == ["26b4547c26", "45d8a2b463"]


def test_quick_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("512", "512 robust", "FSQ")
    monkeypatch.setattr(ranking, "VARIANTS", {name: VARIANTS[name] for name in names})
    work, output = data / "work", data / "output"
    options = ["--data", str(data), "--scale", "quick", "--work", str(work), "--output", str(output)]
    main([*options, "--only", "512"])
    assert not output.exists()
    main(options)
    record = json.loads((output / "robusttok-ranking.json").read_text("utf-8"))
    assert [(found["tokenizer"], found["generator"]) for found in record["runs"]] == [
        (name, kind) for name in names for kind in GENERATORS
    ]
    for found in record["runs"]:
        codes = 64 if found["tokenizer"] != "FSQ" else 512
        assert found["gfd"] > 0
        assert found["nats"] == pytest.approx(math.log(codes), abs=0.7)  # two steps from guessing
    for kind in GENERATORS:
        rho = [record["correlations"][kind][key]["rho"] for key in ("perturbed", "clean")]
        assert record["differences"][kind]["difference"] == pytest.approx(rho[0] - rho[1])
    assert (output / "robusttok-ranking.svg").read_text("utf-8").count('class="mark"') == 12
    assert str(data) not in json.dumps(record)

    monkeypatch.setattr(ranking, "run", None)  # records alone make tables
    assert "| FSQ | 512 |" in ranking.tokenizers_of(record)
    assert ranking.correlations_of(record).count("\n") == 6


@pytest.mark.parametrize(
    ("difference", "low", "high", "words"),
    [
        (0.3, 0.1, 0.5, "Masked: met."),
        (0.3, -0.1, 0.5, "Masked: met, but the interval holds 0."),
        (0.0, -0.1, 0.1, "Masked: not met, but the interval holds 0."),
        (-0.3, -0.5, -0.1, "Masked: not met."),
    ],
)
def test_verdict(difference: float, low: float, high: float, words: str) -> None:
    found = {"masked": {"difference": difference, "low": low, "high": high}}
    assert verdict({"differences": found}).endswith(words)
