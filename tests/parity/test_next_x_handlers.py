"""Cases of xAR with other configurations, small and made here from our own models, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.draw import official_state
from tests.parity.handlers.next_x import Recorded
from tests.parity.runner import run
from zellige.convert.xar import XARAdapter
from zellige.core.registry import system_class
from zellige.generate.flow import flow_times, sample_flow
from zellige.nn.conv import to_grid
from zellige.nn.scan import cell_order
from zellige.systems.xar import XAR

SETTINGS = {
    "layout": ((16, 16),),
    "latent_dim": 5,
    "classes": 7,
    "dim": 64,
    "depths": (1, 2),
    "heads": (8, 4),
    "hidden": 96,
}


def write(path: Path, meta: dict[str, Any], **arrays: Any) -> Path:
    np.savez(path, meta=json.dumps({"system": "xar", "config": "made here", **meta}), **arrays)
    return path


def model_and_meta(official: str, **meta: Any) -> tuple[XAR, dict[str, Any]]:
    """Official tables of positions have a wave for 4 channels of a head; the state does not hold them."""
    adapter = XARAdapter()
    with torch.device("meta"):
        keys = adapter.official_shapes(system_class("xar").from_config(SETTINGS))
    tables = {f"{half}coder_blocks.0.attn.rope.freqs": [waves] for half, waves in (("en", 2), ("de", 4))}
    tables["encoder_blocks.0.attn.rope.freqs_cos"] = [256, 8]
    meta = {"official": official, "keys": {**keys, **tables, "mask": [1, 1, 256, 256]}, **meta}
    meta["kept_buffers"] = ["mask", *tables]
    model = adapter.build(official_state(meta["keys"], meta), heads=(8, 4))
    assert isinstance(model, XAR)
    return model, meta


@torch.no_grad()
@pytest.mark.parametrize("change", [0.0, 0.1])
def test_velocities(tmp_path: Path, change: float) -> None:
    model, meta = model_and_meta("models.xar.xAR")
    x, t, y = torch.randn(3, 256, 5), torch.rand(12), torch.tensor([0, 7, 3])
    times = torch.stack([t[i::3] for i in range(3)])
    velocity = model.velocity(x, times, y) + change
    cond = torch.cat([model.condition(y) + model.time(t[3 * cell : 3 * cell + 3]) for cell in range(4)])
    hidden = []
    model.trunk.norm_middle.register_forward_hook(lambda module, given, output: hidden.append(output))
    model.velocity(x, times, y)
    arrays = {"x": x, "t": t, "y": y, "velocity": velocity, "cond": cond[:, :16], "enc": hidden[0][:, ::8, ::8]}
    ok, lines = run(write(tmp_path / "a.npz", meta, **arrays))
    assert {line.name: line.ok for line in lines} == {"velocity": change == 0, "cond": True, "enc": True}
    assert ok == (change == 0)


@torch.no_grad()
@pytest.mark.parametrize(("steps", "scale"), [(3, 2.5), (2, 1.0)])
def test_samples(tmp_path: Path, steps: int, scale: float) -> None:
    model, meta = model_and_meta("models.xar.xAR.sample_tokens", cfg=scale, num_steps=steps)
    noise, y = torch.randn(4 * steps, 2, 64, 5), torch.tensor([6, 0])
    drawn = model._sample(y, Recorded(noise), model.settings({"guidance": scale, "steps": steps}))
    ok, lines = run(write(tmp_path / "a.npz", meta, noise=noise, y=y, latent=to_grid(drawn, (16, 16))))
    assert ok, lines
    assert not run(write(tmp_path / "b.npz", {**meta, "cfg": 9.0}, noise=noise, y=y, latent=drawn))[0]


def test_functions(tmp_path: Path) -> None:
    x, matrix, draws = torch.randn(2, 16, 3), torch.randn(3, 3), torch.randn(3, 2, 16, 3)
    v, xt, t = torch.randn(2, 16, 3), torch.randn(2, 16, 3), torch.tensor([0.3, 0.8])

    def velocity(x: Tensor, time: float) -> Tensor:
        labelled = torch.tensor([0.2, 0.2, 0.0, 0.0], dtype=torch.float64)[:, None, None]
        return x.double() @ matrix.double() - 0.5 * time + labelled

    x = x.double()
    note = "velocity v(x,y,t) = x@A + 0.2*[y is not null (1000)] - 0.5*t"
    meta = {"official": "models.xar.xAR.clusterify, models.sampler.euler_sampler", "note": note, "keys": {}}
    meta["config"] = "4 cells of 4x4 on a 8x8 grid; samplers with 4 steps, cfg 3.0"
    sde = sample_flow(velocity, x, flow_times(4, "stop-short"), guidance=3.0, noise=Recorded(draws))
    arrays = {
        "cell_order": cell_order((8, 8), (4, 4)),
        "latents": x,
        "A": matrix,
        "em_noise": draws,
        "em_out": sde,
        "euler_out": sample_flow(velocity, x, flow_times(4), guidance=3.0),
        "v": v,
        "xt": xt,
        "t": t,
        "score": -((1 - t[:, None, None]) * v + xt) / t[:, None, None],
    }
    ok, lines = run(write(tmp_path / "a.npz", meta, **arrays))
    assert ok, lines
    assert not run(write(tmp_path / "b.npz", meta, **{**arrays, "em_out": sde + 0.01}))[0]
