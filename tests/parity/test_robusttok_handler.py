"""Cases of RobustTok with other configurations, small and made here from our own models, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.draw import official_state
from tests.parity.runner import run
from zellige.convert.robusttok import RobustTokAdapter
from zellige.core.registry import system_class
from zellige.nn.conv import to_grid

SIDES = {"image_size": 32, "patch": 8, "width": 64, "depth": 1, "decoder_width": 128, "decoder_depth": 2}
SCALES = [1, 2, 4]
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain codes, own positions": (
        {"latents": 9, "positions": "own", "quantizer_settings": {"codes": 12, "normalize": False}},
        {"codebook_size": 12, "codebook_l2_norm": False, "v_patch_nums": [3], "abs_pos_embed": False},
    ),
    "three branches": (
        {"latents": 16, "branches": 3, "quantizer_settings": {"codes": 12, "normalize": True}},
        {"codebook_size": 12, "codebook_l2_norm": True, "v_patch_nums": [4], "abs_pos_embed": True},
    ),
    "scales of one branch": (
        {"latents": 16, "quantizer": "multiscale"}
        | {"quantizer_settings": {"codes": 12, "scales": SCALES, "search": "cosine"}},
        {"codebook_size": 12, "v_patch_nums": SCALES, "abs_pos_embed": True},
    ),
    "signs": (
        {"latents": 16, "branches": 2, "quantizer": "multiscale"}
        | {"quantizer_settings": {"codes": 64, "scales": SCALES, "search": "sign"}},
        {"codebook_size": 64, "v_patch_nums": SCALES, "abs_pos_embed": True, "lfq": True},
    ),
}


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_other_configurations_run(name: str, kept: bool, tmp_path: Path) -> None:
    settings, config = CASES[name]
    config = {**config, "codebook_embed_dim": 6, "num_latent_tokens": settings["latents"]}
    config["product_quant"] = branches = settings.get("branches", 1)
    settings = {**SIDES, "dim": 6, **settings}
    adapter = RobustTokAdapter()
    model = system_class("robusttok").from_config(settings)
    keys = {key: list(shape) for key, shape in adapter.official_shapes(model).items()}
    # The official state has what our model has not.
    hits = [*([len(SCALES)] if "quantizer" in settings else []), model.codebook[0]]
    keys |= {f"quantize{'s.0' if branches > 1 else ''}.ema_vocab_hit_SV": hits}
    scalers = [key for key in keys if key.endswith(".scaler")]
    meta = {"system": "robusttok", "official": "xqgan_model.py:VQModel", "config": config, "keys": keys}
    meta["kept_buffers"] = scalers if kept else []
    state = official_state(keys, meta) | {key: torch.full((3,), 6**-0.5) for key in scalers if kept}
    model = adapter.build(state, **settings)
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    with torch.no_grad():
        z = model.latents(torch.from_numpy(image).float() / 127.5 - 1)
        ids = model.quantizer.encode(z)
        recon = model.pixels(model.quantizer.lookup(ids)).clamp(-1, 1)[..., ::4, ::4]
        vectors = to_grid(model.quantizer.lookup(ids), model.grid).chunk(branches, dim=1)
    each = ids.unbind(-1) if branches > 1 else [ids]
    stored = {f"indices_{i}" if branches > 1 else "indices": part.numpy() for i, part in enumerate(each)}
    stored |= {f"fhat_{i}": part.numpy() for i, part in enumerate(vectors)} if branches > 1 else {}
    np.savez(tmp_path / "case.npz", meta=np.array(json.dumps(meta)), image_u8=image, recon=recon.numpy(), **stored)
    ok, lines = run(tmp_path / "case.npz")
    assert ok, lines
    assert len(lines) == 1 + len(stored)
