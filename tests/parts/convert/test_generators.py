"""Official files of generators: every layout of names, what shapes cannot tell, and rows in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.convert import identify, load_official
from zellige.convert.adapter import Adapter
from zellige.convert.llamagen import LlamaGenAdapter
from zellige.convert.rar import RARAdapter
from zellige.convert.xar import XARAdapter
from zellige.core import registry
from zellige.core.card import Card, Preset, Weights
from zellige.core.errors import DataError, UsageError
from zellige.core.registry import card, system_class

TRUNK: dict[str, Any] = {"codebook": (19,), "dim": 64, "depth": 2, "hidden": 96}
CLASSES: dict[str, Any] = {**TRUNK, "classes": 3, "heads": 1}
XAR: dict[str, Any] = {
    "layout": ((16, 16),),
    "latent_dim": 4,
    "classes": 3,
    "dim": 64,
    "depths": (1, 2),
    "heads": (1, 1),
}
FAMILIES: dict[str, tuple[Adapter, dict[str, Any]]] = {
    "llamagen": (LlamaGenAdapter(), CLASSES),
    "llamagen-text": (LlamaGenAdapter(), {**TRUNK, "classes": 0, "heads": 1, "text_dim": 6, "text_tokens": 5}),
    "rar": (RARAdapter(), {**CLASSES, "layout": ((3, 3),), "heads": 4}),
    "xar": (XARAdapter(), XAR),
}
families = pytest.mark.parametrize("family", FAMILIES)


def official(family: str, **changes: Any) -> dict[str, Tensor]:
    """A random official state dict."""
    adapter, config = FAMILIES[family]
    shapes = adapter.official_shapes(system_class(adapter.system).from_config({**config, **changes}))
    generator = torch.Generator().manual_seed(0)
    return {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@families
@pytest.mark.parametrize("wrapper", [None, "model", "module", "state_dict"])
def test_files_of_all_wrappers_load(family: str, wrapper: str | None, tmp_path: Path) -> None:
    adapter, config = FAMILIES[family]
    state = official(family)
    path = save(tmp_path / "x.pt", state if wrapper is None else {wrapper: state})
    assert identify(path) == adapter.system
    model = load_official(path)
    assert {key: getattr(model.config, key) for key in config} == config
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in state.values())


def test_a_stored_position_table_is_left_out(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"model": {**official("llamagen"), "freqs_cis": torch.zeros(257, 32, 2)}})
    assert load_official(path).system == "llamagen"


def test_grouped_keys_and_values_are_read_off() -> None:
    adapter = LlamaGenAdapter()
    state = official("llamagen", dim=128, heads=2, kv_heads=1)
    assert adapter.config(state)["kv_heads"] == 1
    assert adapter.build(state).config.kv_heads == 1


def test_the_modulation_of_the_head_changes_places() -> None:
    state = official("rar")
    scale, shift = state["adaln_before_head.adaLN_modulation.1.bias"].chunk(2)
    model = RARAdapter().build(state)
    assert torch.equal(model.state_dict()["norm.modulation.linear.bias"], torch.cat([shift, scale]))


def test_computed_tables_are_left_out_and_tell_the_heads(tmp_path: Path) -> None:
    tables = {"mask": torch.zeros(1, 1, 256, 256), "encoder_blocks.0.attn.rope.freqs": torch.zeros(8)}
    model = load_official(save(tmp_path / "x.pt", {**official("xar"), **tables}))
    assert model.config.heads == (2, 1)


def test_modulations_of_xar_begin_with_shifts() -> None:
    state = official("xar")
    value = state["decoder_blocks.1.ada_lin.1.bias"].view(6, 64)
    ours = XARAdapter().build(state).state_dict()["trunk.second.blocks.1.modulation.linear.bias"].view(6, 64)
    for row, theirs in enumerate((4, 2, 0, 5, 3, 1)):
        assert torch.equal(ours[row], value[theirs])


@families
def test_an_incomplete_file_is_named(family: str, tmp_path: Path) -> None:
    state = official(family)
    last = list(state)[-2]
    del state[last]
    with pytest.raises(DataError, match="is missing"):
        load_official(save(tmp_path / "x.pt", state))


@pytest.fixture
def small_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that differ in what no tensor tells, with files that have names."""
    found = card("llamagen")
    presets = {
        name: Preset(
            name, {**CLASSES, "layout": [[side, side]], "guidance": scale}, 0, "", Weights("hf:a/b", file, "free")
        )
        for name, side, scale, file in (("s", 2, 2.0, "s_256.pt"), ("s-384", 3, 1.5, "s_384.pt"))
    }
    other = Card(found.name, found.title, found.kind, found.paper, entry=found.entry, presets=presets)
    monkeypatch.setattr(registry, "card", lambda name: other)


@pytest.mark.usefixtures("small_card")
def test_what_no_tensor_tells_comes_from_the_preset_that_fits(tmp_path: Path) -> None:
    state = official("llamagen")
    for file, preset, expected in (
        ("s_384.pt", None, "llamagen/s-384"),
        ("s_256.pt", None, "llamagen/s"),
        ("unknown.pt", None, "llamagen/s"),
        ("unknown.pt", "llamagen/s-384", "llamagen/s-384"),
        ("s_256.pt", "llamagen/s-384", "llamagen/s-384"),
    ):
        model = load_official(save(tmp_path / file, state), preset)
        assert model.name == expected
        assert model.licence == "free"
        assert (model.config.layout, model.config.guidance) == (
            (((3, 3),), 1.5) if expected.endswith("384") else (((2, 2),), 2.0)
        )
    wider = official("llamagen", hidden=128)
    with pytest.raises(UsageError, match="not llamagen/s-384"):
        load_official(save(tmp_path / "s_384.pt", wider), "llamagen/s-384")


@pytest.mark.parametrize(
    ("system", "preset"), [("llamagen", "xl-384"), ("llamagen", "t2i-xl"), ("rar", "robusttok-l"), ("xar", "l")]
)
def test_the_shapes_of_released_files_are_recognised(system: str, preset: str) -> None:
    from zellige.convert import _fitting_presets

    adapter: Adapter = {"llamagen": LlamaGenAdapter(), "rar": RARAdapter(), "xar": XARAdapter()}[system]  # type: ignore[assignment]
    found = card(system).preset(preset)
    assert found.weights is not None
    with torch.device("meta"):
        shapes = adapter.official_shapes(system_class(system).from_config(found.config))
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert next(iter(_fitting_presets(adapter, state, found.weights.file))) == f"{system}/{preset}"
