"""Checkpoints under the names of latent diffusion: the tokenizer of VAR and the VAE of MAR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.convert import identify, load_official
from zellige.convert.adapter import Adapter
from zellige.convert.ldm import KLVAEAdapter, VARVQAdapter
from zellige.convert.vqgan import fuse_qkv, split_qkv
from zellige.core.card import Card, Preset, Weights
from zellige.core.errors import DataError
from zellige.core.registry import system_class

SMALL: dict[str, Any] = {"channels": 32, "multipliers": (1, 2), "latent": 8, "dim": 8}
SETTINGS = {"codes": 24, "scales": [1, 2, 3], "blends": 2}


def official(adapter: Adapter, **config: Any) -> dict[str, Tensor]:
    shapes = adapter.official_shapes(system_class(adapter.system).from_config({**SMALL, **config}))
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def save(state: dict[str, Tensor], path: Path) -> Path:
    torch.save({"model": state}, path)
    return path


def test_a_variational_autoencoder_comes_back(tmp_path: Path) -> None:
    state = official(KLVAEAdapter(), attention_levels=(0,), blocks=1)
    path = save({**state, "loss.logvar": torch.zeros(())}, tmp_path / "kl.ckpt")
    assert identify(path) == "kl-vae"
    model = load_official(path)
    assert (model.config.attention_levels, model.config.decoder_attention_levels) == ((0,), ())
    assert (model.config.blocks, model.config.decoder_blocks, model.config.latent_scale) == (1, 3, 0.2325)
    assert {v.sum().item() for v in state.values()} == {v.sum().item() for v in model.state_dict().values()}


def test_fused_attention_is_taken_apart(tmp_path: Path) -> None:
    state = official(VARVQAdapter(), quantizer_settings=SETTINGS)
    assert fuse_qkv(split_qkv(state)).keys() == state.keys()
    path = save({**state, "quantize.ema_vocab_hit_SV": torch.zeros(10, 24)}, tmp_path / "var.pth")
    assert identify(path) == "var-vq"
    model = load_official(path)
    fused, ours = state["encoder.mid.attn_1.qkv.weight"], model.state_dict()
    assert torch.equal(
        fused, torch.cat([ours[f"encoder.middle.1.{name}.weight"] for name in ("query", "key", "value")])
    )
    assert torch.equal(ours["quantizer.blends.1.bias"], state["quantize.quant_resi.qresi_ls.1.bias"])


def test_a_preset_says_which_sides_the_scales_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(official(VARVQAdapter(), quantizer_settings=SETTINGS), tmp_path / "var.pth")
    weights = Weights("hf:a/b", "var.pth", "MIT")
    presets = {
        str(side): Preset(str(side), {**SMALL, "quantizer_settings": {**SETTINGS, "scales": [1, side]}}, 0, "", weights)
        for side in (4, 6)
    }
    card = Card("var-vq", "", "base", "", entry="zellige.systems.var_vq:VARVQ", presets=presets)
    monkeypatch.setattr("zellige.core.registry.cards", lambda: {"var-vq": card})
    assert load_official(path).image_size == 8
    model = load_official(path, preset="var-vq/6")
    assert (model.name, model.licence, model.image_size) == ("var-vq/6", "MIT", 12)


def test_other_numbers_of_scales_are_refused(tmp_path: Path) -> None:
    state = official(VARVQAdapter(), quantizer_settings=SETTINGS)
    with pytest.raises(DataError, match="7 scales does not tell their sides"):
        load_official(save({**state, "quantize.ema_vocab_hit_SV": torch.zeros(7, 24)}, tmp_path / "var.pth"))
