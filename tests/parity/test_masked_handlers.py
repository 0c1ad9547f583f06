"""Nothing in the handlers of masked generators is made for one case: other configurations, made here, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.draw import official_state
from tests.parity.handlers.masked import stored_sampler
from tests.parity.handlers.titok_masked import gumbel
from tests.parity.runner import run
from zellige.convert.adapter import Adapter
from zellige.convert.enat import ENATAdapter
from zellige.convert.maskgit import MaskGITAdapter
from zellige.convert.titok_maskgit import TiTokBERTAdapter, TiTokUViTAdapter
from zellige.core.noise import Noise
from zellige.core.registry import system_class

ENAT = {"layout": ((3, 3),), "codebook": (23,), "classes": 5, "dim": 32, "heads": 2}
TITOK = {"layout": ((6,),), "codebook": (23,), "classes": 5, "dim": 32, "depth": 2, "heads": 4, "hidden": 40}


def made(adapter: Adapter, settings: dict[str, Any], meta: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A model with the weights of a case, and the meta with its keys."""
    with torch.device("meta"):
        keys = adapter.official_shapes(system_class(adapter.system).from_config(settings))
    return adapter.build(official_state(keys, meta), **settings), {**meta, "keys": keys}


def write(path: Path, meta: dict[str, Any], **arrays: Any) -> Path:
    values = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in arrays.items()}
    np.savez(path, meta=json.dumps(meta), **values)
    return path


@pytest.mark.parametrize("change", [0.0, 0.01])
@torch.no_grad()
def test_enat(change: float, tmp_path: Path) -> None:
    config = {"hidden": 32, "heads": 2, "enc_dec": [2, 3], "grid": 3, "codebook": 23}
    meta = {"official": "libs.models.DiT (ENAT)", "config": config, "masks": [7, 4]}
    model, meta = made(ENATAdapter(), {**ENAT, "encoder_depth": 2, "decoder_depth": 3}, meta)
    labels, ids = torch.tensor([4, 0]), torch.randint(23, (2, 9))
    arrays: dict[str, Any] = {"y": labels}
    before = None
    for k, count in enumerate(meta["masks"]):
        masked = (torch.arange(9) < count).expand(2, -1)
        before = model.features(ids, masked, labels, before)
        arrays |= {f"ids_{k}": ids.masked_fill(masked, 23), f"feat_{k}": before.x}
        arrays[f"logits_{k}"] = model.logits(before) + change
    ok, lines = run(write(tmp_path / "case.npz", meta, **arrays))
    assert ok == (change == 0), lines
    assert len(lines) == 4


@pytest.mark.parametrize("change", [0.0, 0.01])
@torch.no_grad()
def test_maskgit(change: float, tmp_path: Path) -> None:
    config = {"layers": 2, "hidden": 32, "heads": 4, "intermediate": 40, "vocab": 41, "max_pos": 7}
    settings = {"layout": ((6,),), "codebook": (1,), "classes": 39, "dim": 32, "depth": 2, "heads": 4, "hidden": 40}
    meta = {"official": "maskgit.nets.maskgit_transformer.Transformer", "config": config}
    model, meta = made(MaskGITAdapter(), settings, meta)
    ids = torch.tensor([[7, -1, 3, 40, -1, 2, 1]])
    scores = model.scores(torch.where(ids < 0, 40, ids))
    ok, lines = run(write(tmp_path / "case.npz", meta, ids=ids.int(), logits=scores + change))
    assert ok == (change == 0), lines


@pytest.mark.parametrize("kind", ["ImageBert", "UViTBert"])
@pytest.mark.parametrize("change", [0.0, 0.01])
@torch.no_grad()
def test_titok(kind: str, change: float, tmp_path: Path) -> None:
    skip = kind == "UViTBert"
    generator = {"model_type": "UViT" if skip else "ViT", "hidden_size": 32, "num_hidden_layers": 2}
    generator |= {"num_attention_heads": 4, "intermediate_size": 40, "image_seq_len": 6, "condition_num_classes": 5}
    config = {"model": {"vq_model": {"codebook_size": 23}, "generator": generator}}
    meta = {"official": f"modeling.maskgit.{kind}", "config": config}
    adapter = TiTokUViTAdapter() if skip else TiTokBERTAdapter()
    model, meta = made(adapter, {**TITOK, "network": "skip" if skip else "bert"}, meta)
    ids, labels = torch.tensor([[23, 1, 2, 23, 4, 22]]), torch.tensor([3])
    logits, null = (model.logits(ids, ids == 23, y) for y in (labels, torch.tensor([5])))
    arrays = {"logits_cond": logits + change, "logits_uncond_sub": null[:, ::2], "cond_argmax": logits.argmax(-1)}
    ok, lines = run(write(tmp_path / "case.npz", meta, input_ids=ids, condition=labels, **arrays))
    assert ok == (change == 0), lines
    assert len(lines) == 3


def test_stored_noise_makes_the_draws() -> None:
    logits, noise = torch.zeros(1, 2, 3), torch.tensor([[[0.1, 0.9, 0.2], [0.8, 0.1, 0.3]]])
    sampler = stored_sampler([gumbel(noise)], 2.0)
    assert sampler(logits, Noise([0])).tolist() == [[1, 0]]
    assert stored_sampler([gumbel(noise)], 0.0)(logits, Noise([0])).tolist() == [[0, 0]]
