"""Nothing in a handler is made for one case: cases of other configurations, made here from our own models, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.draw import official_state
from tests.parity.runner import run
from zellige.convert.adapter import Adapter
from zellige.convert.llamagen_vq import LlamaGenVQAdapter
from zellige.convert.maskgit_flax import FlaxMaskGITVQGANAdapter
from zellige.convert.maskgit_vqgan import MAGEVQGANAdapter, MaskGITVQGANAdapter
from zellige.core.registry import system_class
from zellige.nn.conv import to_sequence

BLOCKS = ("blocks", "decoder_blocks", "middle_blocks")
LLAMAGEN = "tokenizer/tokenizer_image/vq_model.py:"
CASES = {
    "vq-8": (
        LlamaGenVQAdapter(),
        {"channels": 32, "multipliers": (1, 2, 2, 4), "latent": 32, "dim": 6},
        {"official": LLAMAGEN + "VQ-8", "config": {"codebook_size": 40, "codebook_embed_dim": 6, "z_channels": 32}},
    ),
    "vq-16, blocks": (
        LlamaGenVQAdapter(),
        {"channels": 32, "multipliers": (1, 1, 3), "latent": 16, "dim": 4, "blocks": 1, "decoder_blocks": 2},
        {
            "official": LLAMAGEN + "VQ-16",
            "config": {"ch": 32, "encoder_ch_mult": [1, 1, 3], "num_res_blocks": 1, "codebook_size": 40},
        },
    ),
    "maskgit": (
        MaskGITVQGANAdapter(),
        {"channels": 32, "multipliers": (1, 3, 2), "latent": 16, "dim": 16, **dict.fromkeys(BLOCKS, 1)},
        {
            "official": "modeling.titok.PretrainedTokenizer",
            "config": {"hidden_channels": 32, "channel_mult": [1, 3, 2], "num_res_blocks": 1, "z_channels": 16},
        },
    ),
    "maskgit, flax": (
        FlaxMaskGITVQGANAdapter(),
        {"channels": 32, "multipliers": (1, 3, 2), "latent": 16, "dim": 16, **dict.fromkeys(BLOCKS, 1)},
        {
            "official": "maskgit.nets.vqgan_tokenizer.VQVAE",
            "config": {"filters": 32, "channel_multipliers": [1, 3, 2], "num_res_blocks": 1, "embedding_dim": 16},
        },
    ),
    "mage": (
        MAGEVQGANAdapter(),
        {"channels": 32, "multipliers": (1, 2), "latent": 16, "dim": 16},
        {"official": "taming/models/vqgan.py:VQModel (MAGE VQGAN)", "config": {"ch": 32, "z": 16, "K": 40}},
    ),
}


def make(path: Path, adapter: Adapter, config: dict[str, Any], meta: dict[str, Any], change: float = 0.0) -> Path:
    """A case of two images, wider than high, from our own model; `change` spoils its outputs."""
    settings = {**config, "quantizer_settings": {"codes": 40, "normalize": isinstance(adapter, LlamaGenVQAdapter)}}
    keys = adapter.official_shapes(system_class(adapter.system).from_config(settings))
    model = adapter.build(official_state(keys, {}))
    unit = model.config.pixel_range == "unit"
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 2 * model.stride, 3 * model.stride), dtype=np.uint8)
    rand = torch.randint(40, (2, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = model.latents(torch.from_numpy(image).float() / 127.5 - 1)
        ids = model.quantizer.encode(to_sequence(z))
        decoded, given = (model.pixels(model.quantizer.lookup(i), (2, 3)) for i in (ids, rand))
    to_official = (lambda x: (x + 1) / 2) if unit else (lambda x: x)
    arrays = {
        "image_u8": image,
        "latent": z[:, ::4],
        "indices": ids.flatten(),
        "margin": np.ones(ids.numel()),
        "decoded": to_official(decoded)[..., ::4, ::4] + change,
        "rand_indices": rand,
        "rand_decoded": to_official(given)[..., ::4, ::4],
    }
    if isinstance(adapter, FlaxMaskGITVQGANAdapter):  # channels-last
        arrays = {name: np.moveaxis(np.asarray(v), 1, -1) if v.ndim == 4 else v for name, v in arrays.items()}
    np.savez(path, meta=np.array(json.dumps({"system": "made here", "keys": keys, **meta})), **arrays)
    return path


@pytest.mark.parametrize("name", CASES)
def test_other_configurations_run(name: str, tmp_path: Path) -> None:
    ok, lines = run(make(tmp_path / "case.npz", *CASES[name]))
    assert ok, lines
    assert [line.name for line in lines] == ["latent", "indices", "decoded", "rand_decoded"]


def test_a_difference_is_found(tmp_path: Path) -> None:
    ok, lines = run(make(tmp_path / "case.npz", *CASES["maskgit"], change=1e-2))
    assert not ok
    assert [line.name for line in lines if not line.ok] == ["decoded"]


def test_a_configuration_that_its_tensors_contradict_fails(tmp_path: Path) -> None:
    adapter, config, meta = CASES["maskgit"]
    wrong = {**meta, "config": {**meta["config"], "num_res_blocks": 2}}
    ok, lines = run(make(tmp_path / "case.npz", adapter, config, wrong))
    assert not ok
    assert "missing" in lines[0].text


def test_without_keys_the_configuration_is_enough(tmp_path: Path) -> None:
    adapter, config, meta = CASES["maskgit"]
    whole = {**meta["config"], "codebook": 40, "dim": 16}
    assert run(make(tmp_path / "case.npz", adapter, config, {**meta, "config": whole, "keys": None}))[0]
