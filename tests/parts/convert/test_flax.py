"""Flax checkpoints, written here as ``flax.serialization`` writes them, and every way in which one can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from torch import Tensor

from zellige.convert import identify, load_official
from zellige.convert.checkpoint import read_checkpoint
from zellige.convert.flax import from_flax, to_flax
from zellige.convert.maskgit_flax import FlaxMaskGITVQGANAdapter
from zellige.core.errors import DataError, MissingExtra
from zellige.core.registry import system_class

CONFIG = {"channels": 32, "multipliers": (1, 2), "latent": 16, "dim": 16, "quantizer_settings": {"codes": 24}}


def array(value: Tensor, **changes: Any) -> msgpack.ExtType:
    """An array as Flax packs it: shape, type and bytes, any of which `changes` may replace."""
    whole = {"shape": value.shape, "dtype": str(value.dtype).removeprefix("torch.")}
    whole |= {"data": value.contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else b"", **changes}
    return msgpack.ExtType(1, msgpack.packb((tuple(whole["shape"]), whole["dtype"], whole["data"])))


def nested(state: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in state.items():
        *path, leaf = key.split(".")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree


def write(path: Path, state: dict[str, Any]) -> Path:
    path.write_bytes(msgpack.packb(nested(state)))
    return path


@pytest.fixture
def state() -> dict[str, Tensor]:
    shapes = FlaxMaskGITVQGANAdapter().official_shapes(system_class("maskgit-vqgan").from_config(CONFIG))
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def test_config_and_every_tensor_come_back(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "tokenizer_checkpoint", {key: array(value) for key, value in state.items()})
    assert identify(path) == "maskgit-vqgan"
    model = load_official(path)
    for key, value in CONFIG.items():
        assert getattr(model.config, key) == value
    ours = model.state_dict()
    assert len(ours) == len(state)
    kernel = state["params.encoder.ResBlock_0.Conv_0.kernel"]
    assert torch.equal(ours["encoder.levels.0.0.conv1.weight"], kernel.permute(3, 2, 0, 1))
    assert torch.equal(ours["quantizer.embedding.weight"], state["params.quantizer.codebook"])
    assert torch.equal(ours["decoder.norm_out.weight"], state["params.decoder.GroupNorm_0.scale"])


def test_names_and_layouts_there_and_back() -> None:
    state = {"a.kernel": torch.randn(3, 4), "b.kernel": torch.randn(1, 2, 3, 4), "c.scale": torch.randn(2)}
    torch_like = from_flax({**state, "c.bias": torch.zeros(2)})
    assert {key: tuple(value.shape) for key, value in torch_like.items()} == {
        "a.weight": (4, 3),
        "b.weight": (4, 3, 1, 2),
        "c.weight": (2,),
        "c.bias": (2,),
    }
    assert all(torch.equal(value, state[key]) for key, value in to_flax(torch_like).items() if key in state)


def test_types_are_kept(tmp_path: Path) -> None:
    values = {"half": torch.ones(2, dtype=torch.bfloat16), "count": torch.tensor([3], dtype=torch.int32)}
    path = write(
        tmp_path / "x", {"step": 7, "empty": array(torch.zeros(0, 3))} | {k: array(v) for k, v in values.items()}
    )
    found = read_checkpoint(path)
    assert found["empty"].shape == (0, 3)
    for key, value in values.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (10**9, 4)},
        {"shape": (-1, 2)},
        {"shape": (2, 2)},
        {"dtype": "object"},
        {"dtype": "__doc__"},
        {"data": 3},
    ],
)
def test_arrays_that_are_not_what_they_claim(changes: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"a": array(torch.ones(3), **changes)})
    with pytest.raises(DataError, match="no intact Flax checkpoint") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_truncated_and_foreign_bytes(state: dict[str, Tensor], tmp_path: Path) -> None:
    whole = write(tmp_path / "x", {key: array(value) for key, value in state.items()}).read_bytes()
    noise = np.random.default_rng(0).bytes(100)
    for content in (whole[:-1], whole[:100], b"\x81", b"\x81" * 10**4, b"\xdf\xff\xff\xff\xff", b"\x82" + noise):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(DataError, match="x"):
            read_checkpoint(tmp_path / "x")


def test_official_names_are_in_the_message(state: dict[str, Tensor], tmp_path: Path) -> None:
    del state["params.decoder.ResBlock_2.Conv_1.kernel"]
    path = write(tmp_path / "x", {key: array(value) for key, value in state.items()})
    with pytest.raises(DataError, match=r"params\.decoder\.ResBlock_2\.Conv_1\.kernel is missing"):
        load_official(path)


def test_without_the_library_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x", {"a": array(torch.ones(3))})
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingExtra, match=r"zellige\[flax\]"):
        read_checkpoint(path)
