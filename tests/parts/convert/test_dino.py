from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zellige.convert.dino import load_dino
from zellige.core.errors import DataError, UsageError
from zellige.nn.features.vit import ViTFeatures


def test_loads_the_official_layout_and_no_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = ViTFeatures().state_dict()
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.11.attn.qkv.bias", "norm.bias"} <= set(state)
    path = tmp_path / "dino.pth"
    torch.save(state, path)
    network = load_dino(path)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert torch.equal(network.blocks[3].mlp.fc1.weight, state["blocks.3.mlp.fc1.weight"])
    del state["norm.bias"]
    torch.save(state, path)
    with pytest.raises(DataError, match=r"norm\.bias is missing"):
        load_dino(path)


def test_a_missing_file_says_what_serves_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("ZELLIGE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="EfficientNet-Lite0"):
        load_dino()
    with pytest.raises(UsageError, match="no weights"):
        load_dino(tmp_path / "absent.pth")
