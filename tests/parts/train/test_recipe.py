"""Recipes: overrides, and mistakes answered in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from zellige.core.errors import UsageError
from zellige.train.recipe import bundled_recipes, load_recipe


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled_recipes_are_valid(name: str) -> None:
    assert load_recipe(name).steps > 0


def test_overrides_reach_nested_keys() -> None:
    recipe = load_recipe("zellige-photo/tiny", ["optimizer.lr=1e-2", "steps=3", "data.train=[a, b]"])
    assert (recipe.optimizer.lr, recipe.steps, recipe.data.train) == (1e-2, 3, ["a", "b"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "unknown key 'stepz'; there is tokenizer, backbone"),
        ("optimizer.rate=3", "unknown key 'optimizer.rate'; there is lr"),
        ("steps=many", r"'steps': input should be a valid integer.* \(got 'many'\)"),
        ("steps=0", "greater than or equal to 1"),
        ("precision=fp8", "'precision'"),
        ("data.train=[]", r"'data.train'"),
        ("steps.more=1", "reaches into 'steps'"),
        ("steps", "no override"),
        ("steps=[", "no YAML"),
        ("seed=-1", "'seed': input should be greater than or equal to 0"),
        ("data.scale=[0, 1]", "'data.scale.0': input should be greater than 0"),
        ("data.scale=[0.5, 2]", "'data.scale.1': input should be less than or equal to 1"),
        ("data.scale=[1, 0.5]", "'data': .*scale starts with the smaller share"),
        ("optimizer.betas=[2, 3]", "'optimizer.betas.0': input should be less than 1"),
    ],
)
def test_mistakes_name_the_key(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("zellige-photo/tiny", [override])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UsageError, match="is no text"):
        load_recipe(str(path))


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "just words"])
def test_files_that_hold_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_unknown_names_suggest() -> None:
    with pytest.raises(UsageError, match="did you mean zellige-photo/tiny"):
        load_recipe("zellige-photo/tyny")
    with pytest.raises(UsageError, match="no recipe at"):
        load_recipe("missing.yaml")
