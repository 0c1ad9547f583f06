"""Nothing in the handlers of next-token generators is made for one case: other configurations, made here, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.parity.draw import official_state
from tests.parity.handlers.next_token import greedy
from tests.parity.runner import run
from zellige.convert.llamagen import LlamaGenAdapter
from zellige.convert.rar import RARAdapter
from zellige.core.registry import system_class
from zellige.generate.sampling import Sampler
from zellige.systems.llamagen import LlamaGen
from zellige.systems.rar import RAR

SCALE = {"pos_embed": 20.0, "target_aware_pos_embed": 20.0}


def write(path: Path, meta: dict[str, Any], **arrays: Any) -> Path:
    values = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in arrays.items()}
    np.savez(path, meta=json.dumps(meta), **values)
    return path


def rar(**meta: Any) -> tuple[RAR, dict[str, Any]]:
    adapter = RARAdapter()
    settings = {"layout": ((3, 3),), "codebook": (23,), "classes": 5, "dim": 32, "depth": 2, "heads": 2, "hidden": 40}
    with torch.device("meta"):
        keys = adapter.official_shapes(system_class("rar").from_config(settings))
    generator = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    generator |= {"image_seq_len": 9, "condition_num_classes": 5}
    config = {"model": {"vq_model": {"codebook_size": 23}, "generator": generator}}
    whole = {"official": "modeling/rar.py:RAR", "config": config, "keys": keys, "scale": SCALE, **meta}
    model = adapter.build(official_state(keys, whole))
    assert isinstance(model, RAR)
    return model, whole


@pytest.mark.parametrize("change", [0.0, 0.01])
@pytest.mark.parametrize("keys", [True, False])
@torch.no_grad()
def test_rar_logits(change: float, keys: bool, tmp_path: Path) -> None:
    model, meta = rar()
    ids, labels = torch.randint(23, (2, 9)), torch.tensor([4, 0])
    orders = torch.stack([torch.arange(9), torch.randperm(9)])
    shuffled = ids.gather(1, orders)
    logits = model.logits(shuffled, labels, orders)
    nll = F.cross_entropy(logits[:, :9].transpose(1, 2), shuffled, reduction="none")
    null = model.logits(shuffled, torch.tensor([5, 5]), orders)
    arrays = {"ids": ids, "condition": labels, "orders": orders, "labels": shuffled, "nll": nll + change}
    arrays |= {"logits": logits[:, ::2, ::3], "logits_uncond": null[:, ::2, ::3]}
    ok, lines = run(write(tmp_path / "case.npz", meta if keys else {**meta, "keys": None}, **arrays))
    assert ok == (change == 0), lines
    assert len(lines) == 4


@pytest.mark.parametrize("scale", [0.0, 4.0])
@pytest.mark.parametrize("change", [0, 1])
@torch.no_grad()
def test_rar_greedy(scale: float, change: int, tmp_path: Path) -> None:
    sampling = {"guidance_scale": scale, "randomize_temperature": 1.1, "guidance_scale_pow": 1.5}
    model, meta = rar(sampling=sampling)
    labels = torch.tensor([1, 2])
    settings = model.settings({"guidance": scale or 1.0, "power": 1.5, "temperature": 1.1})
    ids, best, lead = greedy(model, labels, settings, 9)
    schedule = np.array([settings.guide().at(i / 9) for i in range(9)])
    arrays = {"condition": labels, "ids": ids + change, "margin": lead, "best_logprob": best, "cfg_schedule": schedule}
    ok, lines = run(write(tmp_path / "case.npz", meta, **arrays))
    assert ok == (change == 0), lines


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize(
    "sampling",
    [
        {"cfg_scale": 3.0, "cfg_interval": 2, "temperature": 0.9, "top_k": 7, "top_p": 0.95, "n": 6},
        {"cfg_scale": 1.0, "cfg_interval": -1, "temperature": 1.0, "top_k": 1, "top_p": 1.0},
    ],
)
@torch.no_grad()
def test_llamagen(keys: bool, sampling: dict[str, Any], tmp_path: Path) -> None:
    adapter, length = LlamaGenAdapter(), sampling.get("n", 9)
    settings = {"layout": ((3, 3),), "codebook": (23,), "classes": 5, "dim": 48, "depth": 2, "heads": 3, "hidden": 128}
    config = {"n_layer": 2, "n_head": 3, "n_kv_head": None, "dim": 48, "vocab_size": 23, "block_size": 9}
    config |= {"cls_token_num": 1, "model_type": "c2i", "num_classes": 5, "multiple_of": 32}
    with torch.device("meta"):
        shapes = adapter.official_shapes(system_class("llamagen").from_config(settings))
    meta = {"official": "autoregressive/models/gpt.py:Transformer", "config": config, "sampling": sampling}
    model = adapter.build(official_state(shapes, meta), **settings)
    assert isinstance(model, LlamaGen)
    ids, labels = torch.randint(23, (2, 9)), torch.tensor([4, 0])
    logits = model.logits(ids, labels)
    nll = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    interval = (0.0, 1.0 if sampling["cfg_interval"] < 0 else 3 / length)
    options = {key: sampling[key] for key in ("temperature", "top_k", "top_p")}
    chosen = model.settings({"guidance": sampling["cfg_scale"], "interval": interval, **options})
    made, best, lead = greedy(model, labels, chosen, length)
    arrays = {"ids": ids, "condition": labels, "logits": logits[:, ::2], "nll": nll, "loss": nll.mean()}
    arrays |= {"gen_ids": made, "gen_margin": lead, "gen_best_logprob": best}
    path = write(tmp_path / "case.npz", {**meta, "keys": shapes if keys else None}, **arrays)
    ok, lines = run(path)
    assert ok, lines
    assert len(lines) == 6
    assert not run(write(path, {**meta, "keys": shapes}, **{**arrays, "nll": nll + 0.01}))[0]


def test_filters(tmp_path: Path) -> None:
    logits = torch.randn(3, 11)
    meta = {"official": "autoregressive/models/generate.py:top_k_top_p_filtering"}
    meta["config"] = {"temperature": 0.7, "cases": [[3, 1.0], [0, 0.5]]}
    probs = [Sampler(0.7, k, p).filter(logits).softmax(-1) for k, p in meta["config"]["cases"]]
    assert run(write(tmp_path / "a.npz", meta, logits=logits, probs_0=probs[0], probs_1=probs[1]))[0]
    assert not run(write(tmp_path / "b.npz", meta, logits=logits, probs_0=probs[1], probs_1=probs[1]))[0]
