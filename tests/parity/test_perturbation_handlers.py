"""Nothing in a handler of perturbation is made for one case: other sizes and settings, made here, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.parity.runner import run

OFFICIAL = {"perturbation": "tokenizer_image/latent_perturbation.py:add_perturbation", "anneal": "get_random_ratio"}


def write(path: Path, meta: dict[str, Any], **arrays: Any) -> Path:
    np.savez(path, meta=json.dumps({"system": "made here", **meta}), **arrays)
    return path


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("change", [0.0, 0.1])
def test_perturbation_of_another_size(tmp_path: Path, l2: bool, change: float) -> None:
    generator = torch.Generator().manual_seed(5)
    b, c, h, w, k, alpha, beta, delta = 5, 3, 2, 6, 37, 0.4, 0.7, 37
    z, codes = (torch.randn(*shape, generator=generator) for shape in ((b, c, h, w), (k, c)))
    p, j = torch.rand(b * h * w, generator=generator), torch.randint(delta, (b * h * w,), generator=generator)
    table = F.normalize(codes, dim=1) if l2 else codes
    vectors = z.permute(0, 2, 3, 1).reshape(-1, c)
    order = torch.cdist(F.normalize(vectors, dim=1) if l2 else vectors, table).argsort(1)
    chosen = torch.where(p > alpha, 0, j)
    clean, moved = (table[order.gather(1, rank[:, None])[:, 0]] for rank in (torch.zeros_like(j), chosen))
    clean, moved = (x.view(b, h, w, c).permute(0, 3, 1, 2) for x in (clean, moved))
    output = torch.cat([moved[:3], clean[3:]]) + change
    names = {"B": b, "C": c, "H": h, "vocab": k, "l2_norm": l2, "alpha": alpha, "beta": beta, "delta": delta}
    meta = {"official": OFFICIAL["perturbation"], "config": names}
    arrays = {"z": z, "codebook": codes, "zq": clean, "indices": order[:, 0], "rand_prob": p, "rand_idx": j}
    path = write(tmp_path / "case.npz", meta, output=output, **arrays)
    ok, lines = run(path)
    assert ok == (change == 0), lines
    assert {line.name for line in lines} == {"output", "zq", "indices"}


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_annealing_to_another_ratio(tmp_path: Path, ratio: float) -> None:
    found = [(1.0 if e < 4 else 1 - (e - 4) / 4 * ratio if e <= 8 else ratio) for e in range(12)]
    config = {"anneal_start": 4, "anneal_end": 8, "end_ratio": ratio, "alpha": 0.5, "beta": 0.1, "delta": 30}
    arrays = {"ratio": found, "alpha": [f * 0.5 for f in found], "delta": [int(f * 30) for f in found]}
    path = write(tmp_path / "case.npz", {"official": OFFICIAL["anneal"], "config": config}, epoch=range(12), **arrays)
    ok, lines = run(path)
    assert ok, lines
