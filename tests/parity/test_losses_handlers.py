"""Nothing in a handler of losses is made for one case: other sizes and settings, made here, run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity.draw import official_state
from tests.parity.handlers.losses_discriminators import official_name
from tests.parity.runner import run
from zellige.losses.discriminators.features import FeatureDiscriminator
from zellige.nn.features.vit import ViTFeatures


def write(path: Path, meta: dict[str, Any], **arrays: Any) -> Path:
    values = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in arrays.items()}
    np.savez(path, meta=json.dumps(meta), **values)
    return path


@pytest.mark.parametrize("change", [0.0, 0.1])
def test_dino_discriminator_of_another_size(tmp_path: Path, change: float) -> None:
    network = ViTFeatures(128, 3, 2, patch=8, size=32, readouts=(0, 2))
    model = FeatureDiscriminator(network, network.channels, kernel=3, group=2).train()
    keys = {f"dino.{key}": tuple(value.shape) for key, value in network.state_dict().items()}
    keys |= {official_name(key): tuple(value.shape) for key, value in model.state_dict().items()}
    state = official_state(keys, {})
    network.load_state_dict({key: state[f"dino.{key}"] for key in network.state_dict()})
    model.load_state_dict({key: state[official_name(key)] for key in model.state_dict()})
    image = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    x = torch.from_numpy(image).float() / 127.5 - 1
    with torch.no_grad():
        readouts = {f"readout_{i}": map_[:, :5, ::3] for i, map_ in enumerate(network(x))}
        logits = model(x) + change
    meta = {
        "official": "tokenizer/tokenizer_image/discriminator_dino.py:DinoDisc",
        "config": {"ks": 3, "key_depths": [0, 2], "depth": 3, "virtual_bs": 2},
        "keys": keys,
    }
    ok, lines = run(write(tmp_path / "case.npz", meta, image_u8=image, logits=logits, **readouts))
    assert ok == (change == 0), lines


@pytest.mark.parametrize("right", [True, False])
def test_losses_of_other_settings(tmp_path: Path, right: bool) -> None:
    real, fake = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, -2.0]])
    averages = [(0.25, -0.375), (0.375, -0.5625)]  # half of the way from zero to the means, then half of the rest
    lecam = [(max(0, 2 - f) ** 2 + max(0, -1 - f) ** 2 + max(0, r - 0.5) ** 2 + (r + 2) ** 2) / 2 for r, f in averages]
    meta = {"official": "tokenizer/tokenizer_image/vq_loss.py functions", "config": {"lecam_decay": 0.5}}
    hinge = 0.5 * (2 / 2 + 1.5 / 2) if right else 0.8
    ok, lines = run(write(tmp_path / "case.npz", meta, real=real, fake=fake, lecam=np.array(lecam), hinge_d=hinge))
    assert ok == right, lines
