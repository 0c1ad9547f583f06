"""The small recipes and the curves that are shipped beside them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from zellige.train.generator import train_generator
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import bundled_recipes, load_recipe
from zellige.train.tokenizer import train_tokenizer


def expected(name: str) -> list[dict[str, Any]]:
    text = (resources.files("zellige.recipes") / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


SMALL = [name for name in bundled_recipes() if name.endswith(("/tiny", "/adversarial"))]


@pytest.mark.parametrize("name", SMALL)
def test_every_small_recipe_ships_the_curve_of_all_its_steps(name: str) -> None:
    lines, recipe = expected(name), load_recipe(name)
    assert [line["step"] for line in lines] == [1, *range(recipe.log_every, recipe.steps + 1, recipe.log_every)]
    key, share = ("loss", 0.9) if isinstance(recipe, GeneratorRecipe) else ("mse", 0.5)
    assert sum(line[key] for line in lines[-3:]) < share * sum(line[key] for line in lines[:3])


def test_a_run_follows_the_shipped_curve(tmp_path: Path) -> None:
    """Same crops on every machine; rounding differs, so the losses agree but not to the last digit."""
    lines: list[dict[str, Any]] = []
    train_tokenizer(load_recipe("zellige-photo/tiny", ["steps=60"]), tmp_path, on_log=lines.append)
    shipped = expected("zellige-photo/tiny")
    # The cosine is a little faster over 60 steps than over 200, which by then matters by a few percent.
    assert [line["mse"] for line in lines[:3]] == pytest.approx([line["mse"] for line in shipped[:3]], rel=0.1)
    ours, theirs = (sum(line["mse"] for line in curve[3:7]) for curve in (lines, shipped))
    assert ours == pytest.approx(theirs, rel=0.25)


def test_a_generator_follows_the_shipped_curve(tmp_path: Path) -> None:
    """While the rate is warming up, which does not depend on the length of the run."""
    lines: list[dict[str, Any]] = []
    train_generator(load_recipe("llamagen/tiny", ["steps=20"]), tmp_path, on_log=lines.append)
    shipped = expected("llamagen/tiny")[: len(lines)]
    assert [line["cross_entropy"] for line in lines] == pytest.approx([x["cross_entropy"] for x in shipped], rel=0.1)
