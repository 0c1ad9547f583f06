"""Handlers of latent-diffusion names on other configurations than the released ones, made here from our own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.parity.draw import official_state
from tests.parity.handlers.ldm import BLENDS
from tests.parity.runner import run
from zellige.convert.ldm import KLVAEAdapter, VARVQAdapter
from zellige.core.registry import system_class
from zellige.nn.conv import to_grid, to_sequence

SCALES = [1, 2, 4]


def save(path: Path, meta: dict[str, Any], **arrays: Any) -> Path:
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)
    return path


@pytest.mark.parametrize("shared", [0, 1, 2])
@pytest.mark.parametrize("change", [0, 1])
def test_a_multiscale_tokenizer(shared: int, change: int, tmp_path: Path) -> None:
    adapter = VARVQAdapter(*(BLENDS[shared],) if shared in BLENDS else ())
    settings = {"codes": 40, "scales": SCALES, "blends": shared or len(SCALES), "blend_ratio": 0.3}
    config = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "decoder_blocks": 2, "latent": 8, "dim": 8}
    keys = adapter.official_shapes(system_class("var-vq").from_config({**config, "quantizer_settings": settings}))
    model = adapter.build(official_state(keys, {}), quantizer_settings=settings)
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        f = model.latents((0.6 * F.interpolate(small, (8, 8), mode="bicubic")).clamp(-1, 1))
        ids = model.quantizer.encode(to_sequence(f))
        decoded = model.pixels(model.quantizer.lookup(ids), (4, 4))
    ids[0, -1] = (ids[0, -1] + change) % 40
    official = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 8, "vocab_size": 40}
    official |= {"share_quant_resi": shared, "quant_resi": 0.3, "patch_nums": SCALES}
    meta = {"official": "models.vqvae.VQVAE", "config": official, "keys": keys, "margins": [1, 1, 1e-3]}
    ok, lines = run(save(tmp_path / "case.npz", meta, seed4=small, f=f, idx=ids, decoded=decoded[..., ::2, ::2]))
    assert [line.name for line in lines] == ["f", "idx", "decoded"]
    assert ok == (change == 0), lines
    assert lines[1].text == f"{change} of 21 ids differ"


@pytest.mark.parametrize("levels", [(), (-1,), (0, 1)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_variational_autoencoder(levels: tuple[int, ...], whole: bool, tmp_path: Path) -> None:
    adapter = KLVAEAdapter()
    config = {"channels": 32, "multipliers": (1, 2), "latent": 4, "dim": 4, "attention_levels": levels}
    keys = adapter.official_shapes(system_class("kl-vae").from_config(config))
    model = adapter.build(official_state(keys, {}))
    x = torch.rand(2, 3, 8, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        z = to_sequence(model.latents(x))
        mean, log_variance = model.quantizer.moments(z)
        decoded = model.pixels(mean, (4, 2))
    meta = {"official": "models.vae.AutoencoderKL", "config": {"ch": 32, "ch_mult": [1, 2], "embed_dim": 4}}
    if whole or levels:
        meta["keys"] = keys
    arrays = {"image": x, "mean": to_grid(mean, (4, 2)), "logvar": to_grid(log_variance, (4, 2)), "decoded": decoded}
    ok, lines = run(save(tmp_path / "case.npz", meta, **arrays))
    assert ok, lines
    assert [line.name for line in lines] == ["mean", "logvar", "decoded"]
