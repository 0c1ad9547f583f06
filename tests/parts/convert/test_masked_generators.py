"""Official files of masked generators: Flax tables of MaskGIT, ENAT's keys and values, TiTok's networks, MaskGen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.parts.convert.test_flax import array, write
from zellige.convert import _fitting_presets, identify, load_official
from zellige.convert.adapter import Adapter
from zellige.convert.enat import ENATAdapter
from zellige.convert.maskgen import MaskGenAdapter
from zellige.convert.maskgen_kl import MaskGenKLAdapter
from zellige.convert.maskgit import MaskGITAdapter
from zellige.convert.titok_maskgit import TiTokBERTAdapter, TiTokUViTAdapter
from zellige.core.errors import DataError
from zellige.core.registry import card, system_class

SMALL: dict[str, Any] = {"layout": ((3, 3),), "codebook": (19,), "classes": 1000, "dim": 128}
SEQUENCE: dict[str, Any] = {"layout": ((9,),), "codebook": (19,), "classes": 3, "dim": 64, "depth": 2, "hidden": 96}
MASKGEN: dict[str, Any] = {**SEQUENCE, "classes": 0, "text_dim": 10, "score_waves": 6}
LATENTS: dict[str, Any] = {**MASKGEN, "codebook": (), "latent_dim": 5, "head_width": 20, "head_depth": 2}
FAMILIES: dict[str, tuple[Adapter, dict[str, Any]]] = {
    "maskgit": (MaskGITAdapter(), {**SMALL, "depth": 2, "heads": 4, "hidden": 96}),
    "enat": (ENATAdapter(), {**SMALL, "encoder_depth": 3, "decoder_depth": 2, "heads": 2}),
    "titok-bert": (TiTokBERTAdapter(), {**SEQUENCE, "network": "bert"}),
    "titok-uvit": (TiTokUViTAdapter(), {**SEQUENCE, "network": "skip"}),
    "maskgen": (MaskGenAdapter(), {**MASKGEN, "tied": True, "spare": 1001}),
    "maskgen-untied": (MaskGenAdapter(), {**MASKGEN, "tied": False, "spare": 3}),
    "maskgen-kl": (MaskGenKLAdapter(), LATENTS),
}


def official(family: str) -> dict[str, Tensor]:
    adapter, config = FAMILIES[family]
    shapes = adapter.official_shapes(system_class(adapter.system).from_config(config))
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def save(family: str, path: Path, state: dict[str, Tensor]) -> Path:
    if family == "maskgit":
        return write(path, {key: array(value) for key, value in state.items()})
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_config_and_every_tensor_come_back(family: str, tmp_path: Path) -> None:
    adapter, config = FAMILIES[family]
    state = official(family)
    path = save(family, tmp_path / "x.pth", state)
    assert identify(path) == adapter.system
    model = load_official(path)
    assert {key: getattr(model.config, key) for key in config} == config
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in state.values())
    back = adapter._official_tensors(model)
    assert back.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("family", FAMILIES)
def test_an_incomplete_file_is_named(family: str, tmp_path: Path) -> None:
    state = official(family)
    missing = next(key for key in state if any(part in key for part in ("attn.kv.B", "query", "attn.qkv", "attn.to_k")))
    del state[missing]
    with pytest.raises(DataError, match="is missing"):
        load_official(save(family, tmp_path / "x.pth", state))


def test_attention_is_fused_in_the_order_of_queries_keys_and_values() -> None:
    state = official("maskgit")
    model = MaskGITAdapter().build(state)
    query, key, value = (
        state[f"params.TransformerLayer_1.Attention_0.self_attention.{name}.kernel"].flatten(1).T
        for name in ("query", "key", "value")
    )
    assert torch.equal(model.state_dict()["transformer.blocks.1.attention.qkv.weight"], torch.cat([query, key, value]))
    state = official("enat")
    block = ENATAdapter().build(state).state_dict()
    own = torch.cat([state["blocks.3.attn.q.bias"], state["blocks.3.attn.kv.B.bias"]])
    assert torch.equal(block["decoder.0.attention.qkv.bias"], own)
    assert torch.equal(block["decoder.0.context.bias"], state["blocks.3.attn.kv.A.bias"])


def test_dead_weights_are_left_out_and_make_up_the_published_number() -> None:
    state = {**official("enat"), "prev_embedder.fc1.weight": torch.zeros(3, 4)}
    assert ENATAdapter().build(state).system == "enat"
    dim = 1024
    dead = 2 * 4 * dim * dim + 5 * dim  # prev_embedder, an MLP of ratio 4
    assert card("enat").preset("l").parameters + dead == 574_298_113


@pytest.mark.parametrize("preset", ["maskgit/imagenet-256", "maskgit/imagenet-512", "enat/l", "enat/l-512"])
def test_the_shapes_of_released_files_are_recognised(preset: str) -> None:
    check_released(FAMILIES[preset.partition("/")[0]][0], preset)


@pytest.mark.parametrize(
    ("family", "preset"), [("titok-bert", "l-32"), ("titok-bert", "b-64"), ("titok-uvit", "s-128")]
)
def test_the_shapes_of_titoks_files_are_recognised(family: str, preset: str) -> None:
    check_released(FAMILIES[family][0], f"titok-maskgit/{preset}")


@pytest.mark.parametrize("preset", ["vq-l", "vq-xl"])
def test_the_shapes_of_maskgens_files_are_recognised(preset: str) -> None:
    check_released(MaskGenAdapter(), f"maskgen/{preset}")


@pytest.mark.parametrize("preset", ["l", "xl"])
def test_the_shapes_of_maskgen_kls_files_are_recognised(preset: str) -> None:
    check_released(MaskGenKLAdapter(), f"maskgen-kl/{preset}")


def test_norms_of_the_transformer_are_turned_and_those_of_the_head_are_not() -> None:
    state = official("maskgen-kl")
    unread = {"decoder_blocks.1.attn.add_q_proj.weight": torch.ones(64, 64)}
    weights = MaskGenKLAdapter().build({**state, **unread}, **LATENTS).state_dict()
    for official_name, name in (
        ("decoder_norm", "norm"),
        ("decoder_blocks.1.norm1_context", "trunk.blocks.1.text_norm"),
    ):
        scale, shift = state[f"{official_name}.linear.weight"].chunk(2)
        assert torch.equal(weights[f"{name}.modulation.linear.weight"], torch.cat([shift, scale]))
    head = state["diffloss.net.final_layer.adaLN_modulation.1.weight"]
    assert torch.equal(weights["head.norm.modulation.linear.weight"], head)
    assert weights["null"].isnan().all()


@pytest.mark.parametrize("name", ["embeddings.weight", "lm_head.weight"])
def test_one_table_of_two_names_and_queries_of_no_use(name: str) -> None:
    state = official("maskgen")
    table = state.pop("embeddings.weight")
    unread = {f"blocks.1.attn.add_q_proj.{leaf}": torch.ones(64, 64)[:n] for leaf, n in (("weight", 64), ("bias", 1))}
    model = MaskGenAdapter().build({**state, **unread, name: table}, **FAMILIES["maskgen"][1])
    weights = model.state_dict()
    assert torch.equal(weights["embedding.weight"], table)
    scale, shift = state["norm.linear.weight"].chunk(2)
    assert torch.equal(weights["norm.modulation.linear.weight"], torch.cat([shift, scale]))
    keys = torch.cat([state[f"blocks.1.attn.add_{kind}_proj.weight"] for kind in "kv"])
    assert torch.equal(weights["trunk.blocks.1.text_keys.weight"], keys)
    assert weights["null"].isnan().all()


def check_released(adapter: Adapter, preset: str) -> None:
    system, _, name = preset.partition("/")
    with torch.device("meta"):
        shapes = adapter.official_shapes(system_class(system).from_config(card(system).preset(name).config))
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert next(iter(_fitting_presets(adapter, state, ""))) == preset
