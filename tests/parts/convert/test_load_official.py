"""Official checkpoint files: every layout that is published, and every way in which one can be wrong."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zellige.convert import identify, load_official
from zellige.convert.adapter import Adapter
from zellige.convert.llamagen_vq import LlamaGenVQAdapter
from zellige.convert.maskgit_vqgan import MAGEVQGANAdapter, MaskGITVQGANAdapter
from zellige.convert.robusttok import RobustTokAdapter
from zellige.core.card import Card, Preset, Weights
from zellige.core.errors import DataError, UsageError
from zellige.core.registry import build, system_class

CONV = {"channels": 32, "multipliers": (1, 2), "latent": 16, "dim": 16}
FAMILIES = [
    (LlamaGenVQAdapter(), {**CONV, "dim": 4, "quantizer_settings": {"codes": 24, "normalize": True}}),
    (MaskGITVQGANAdapter(), {**CONV, "quantizer_settings": {"codes": 24}}),
    (MAGEVQGANAdapter(), {**CONV, "quantizer_settings": {"codes": 24}}),
]
families = pytest.mark.parametrize(("adapter", "config"), FAMILIES, ids=lambda x: type(x).__name__)


def official(adapter: Adapter, config: dict[str, Any]) -> dict[str, Tensor]:
    """A random official state dict of a configuration."""
    shapes = adapter.official_shapes(system_class(adapter.system).from_config(config))
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture
def state() -> dict[str, Tensor]:
    return official(*FAMILIES[0])


def wrap_nothing(state: dict[str, Tensor]) -> object:
    return state


def wrap_model(state: dict[str, Tensor]) -> object:
    return {"model": state, "steps": 3}


def wrap_ema(state: dict[str, Tensor]) -> object:
    return {"ema": state, "model": {key: torch.zeros_like(value) for key, value in state.items()}}


def wrap_parallel(state: dict[str, Tensor]) -> object:
    return {"state_dict": {f"module.{key}": value for key, value in state.items()}}


@families
def test_config_and_every_tensor_come_back(adapter: Adapter, config: dict[str, Any], tmp_path: Path) -> None:
    state = official(adapter, config)
    save_file(state, tmp_path / "x.safetensors")
    assert identify(tmp_path / "x.safetensors") == adapter.system
    model = load_official(tmp_path / "x.safetensors")
    for key, value in config.items():
        assert getattr(model.config, key) == value
    assert not model.training
    values = {value.sum().item() for value in model.state_dict().values()}
    assert {value.sum().item() for value in state.values()} <= values


@pytest.mark.parametrize("wrap", [wrap_nothing, wrap_model, wrap_ema, wrap_parallel])
@pytest.mark.parametrize("zipped", [True, False])
def test_wrapped_torch_files(
    state: dict[str, Tensor], wrap: Callable[[dict[str, Tensor]], object], zipped: bool, tmp_path: Path
) -> None:
    extras = {"quantize.codebook_used": torch.zeros(8), "loss.discriminator.weight": torch.zeros(2)}
    torch.save(wrap({**state, **extras}), tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    model = load_official(tmp_path / "x.pt")
    assert torch.equal(model.state_dict()["encoder.conv_in.weight"], state["encoder.conv_in.weight"])


def test_half_precision_becomes_float32(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({key: value.bfloat16() for key, value in state.items()}, tmp_path / "x.safetensors")
    assert {p.dtype for p in load_official(tmp_path / "x.safetensors").parameters()} == {torch.float32}


def test_wrong_keys_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    def failure(changed: dict[str, Tensor]) -> str:
        torch.save(changed, tmp_path / "x.pt")
        with pytest.raises(DataError) as error:
            load_official(tmp_path / "x.pt")
        return str(error.value)

    missing = {key: value for key, value in state.items() if key != "decoder.mid.1.q.bias"}
    assert "decoder.mid.1.q.bias" in failure(missing)
    assert "quantize.embedding.weight" in failure({k: v for k, v in state.items() if "embedding" not in k})
    assert "encoder.extra.weight" in failure({**state, "encoder.extra.weight": torch.zeros(1)})
    assert "decoder.conv_out.weight" in failure({**state, "decoder.conv_out.weight": torch.zeros(4, 32, 3, 3)})
    assert "\n" not in failure({**state, "encoder.conv_in.weight": torch.zeros(0, 3, 3, 3)})
    assert "\n" not in failure({**state, "encoder.conv_in.weight": torch.zeros(())})
    text = failure({key: value for key, value in state.items() if ".norm" not in key})
    assert text.count("norm") == 3
    assert "more" in text


class Config:
    """Stands for the argument objects that training scripts pickle into their checkpoints."""


def test_pickled_objects_of_old_files_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": state, "args": Config()}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="not executed"):
        load_official(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_files(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\."):
        load_official(path)


def test_truncated_files(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    for size in (100, len(content) // 2, len(content) - 1):
        (tmp_path / "x.pt").write_bytes(content[:size])
        with pytest.raises(DataError):
            load_official(tmp_path / "x.pt")


def test_claimed_sizes_are_not_trusted(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**state, "quantize.embedding.weight": torch.zeros(1).expand(10**9, 4)}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="larger than the file"):
        load_official(tmp_path / "x.pt")


def test_compressed_archives_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({key: torch.zeros_like(value) for key, value in state.items()}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as y,
    ):
        for name in source.namelist():
            y.writestr(name, source.read(name))
    with pytest.raises(DataError, match="larger than the file"):
        load_official(tmp_path / "y.pt")


def test_unknown_families_and_missing_files(tmp_path: Path) -> None:
    torch.save({"blocks.0.weight": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(UsageError, match=r"blocks\.0\.weight"):
        identify(tmp_path / "x.pt")
    with pytest.raises(UsageError, match="no checkpoint"):
        load_official(tmp_path / "nothing.pt")


def test_presets_are_recognized(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(state, tmp_path / "x.pt")
    assert load_official(tmp_path / "x.pt").name == "llamagen-vq"
    with pytest.raises(UsageError, match="not llamagen-vq/vq-8"):
        load_official(tmp_path / "x.pt", preset="llamagen-vq/vq-8")

    preset = Preset("tiny", FAMILIES[0][1], 0, "", Weights("hf:a/b", "x.pt", "MIT"))
    tiny = Card("llamagen-vq", "", "base", "", entry="zellige.systems.llamagen_vq:LlamaGenVQ", presets={"tiny": preset})
    monkeypatch.setattr("zellige.core.registry.cards", lambda: {"llamagen-vq": tiny})
    model = load_official(tmp_path / "x.pt", preset="llamagen-vq/tiny")
    assert (model.name, model.licence) == ("llamagen-vq/tiny", "MIT")


def test_another_preset_names_the_tensors_that_differ(tmp_path: Path) -> None:
    sizes = {"image_size": 32, "patch": 8, "width": 64, "depth": 1, "decoder_width": 64, "decoder_depth": 1}
    codes = {"latents": 16, "dim": 4, "quantizer_settings": {"codes": 8, "normalize": True}}
    state = official(RobustTokAdapter(), {**sizes, **codes})
    beside = {"quantize.ema_vocab_hit_SV": torch.zeros(8), "semantic_model.cls_token": torch.zeros(1, 1, 64)}
    torch.save({"ema": {**state, **beside}, "args": Config()}, tmp_path / "XQGAN-4096.pt")
    assert load_official(tmp_path / "XQGAN-4096.pt").config.latents == 16
    with pytest.raises(UsageError, match=r"not robusttok/vq-8192: .*blocks\.1\.\S+ is missing.* more$"):
        load_official(tmp_path / "XQGAN-4096.pt", preset="robusttok/vq-8192")


def test_shapes_of_another_preset_are_given() -> None:
    adapter = RobustTokAdapter()
    with torch.device("meta"):
        ours, other = build("robusttok/vq-4096"), build("robusttok/vq-8192")
    state = {key: torch.empty(shape, device="meta") for key, shape in adapter.official_shapes(ours).items()}
    assert not adapter.differences(state, ours)
    assert "quantize.embedding.weight is (4096, 64), not (8192, 32)" in adapter.differences(state, other)
