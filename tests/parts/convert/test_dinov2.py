"""A small DINOv2 of transformers, with random weights: the same features, other patches, and what it says without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from zellige.convert.dinov2 import DINOv2, load_dinov2
from zellige.core.errors import MissingExtra, UsageError
from zellige.core.registry import build
from zellige.nn.vit import ViTTrunk

SMALL = {"image_size": 32, "patch": 8, "width": 32, "decoder_width": 32, "latents": 16, "head_width": 16, "dim": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers", reason="needs the extra lm")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14, layerscale_value=0.7
    )
    path = tmp_path_factory.mktemp("dinov2")
    model = transformers.Dinov2Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def dinov2(folder: Path) -> DINOv2:
    return load_dinov2(str(folder))


def test_the_teacher_gives_the_class_features(dinov2: DINOv2, folder: Path) -> None:
    from transformers import Dinov2Model

    teacher, official = dinov2.teacher(), Dinov2Model.from_pretrained(folder).eval()
    x = torch.rand(2, 3, 56, 56) * 2 - 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = ((x + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        expected = official(normalized).pooler_output
        torch.testing.assert_close(teacher(x), expected, rtol=1e-4, atol=1e-5)
        larger = F.interpolate(x, (112, 112), mode="bicubic")
        assert teacher(larger).shape == (2, 32)
    assert teacher.width == 32
    assert not any(p.requires_grad for p in teacher.parameters())


def test_patches_and_positions_are_resampled(dinov2: DINOv2) -> None:
    trunk = ViTTrunk(32, 2, 2, grid=7, patch=16, layer_scale=0.1)
    dinov2.fill(trunk)
    assert trunk.pos_embed.shape == (1, 50, 32)
    assert torch.equal(trunk.pos_embed[:, 0], dinov2.state["pos_embed"][:, 0])
    # What a patch gives, it gives enlarged, too.
    patches = torch.randn(5, 3, 14, 14)
    assert trunk.patch_embed is not None
    with torch.no_grad():
        enlarged = trunk.patch_embed(F.interpolate(patches, (16, 16), mode="bicubic", antialias=True))
        kernel, bias = dinov2.state["patch_embed.proj.weight"], dinov2.state["patch_embed.proj.bias"]
        torch.testing.assert_close(enlarged[:, 0], F.conv2d(patches, kernel, bias)[..., 0, 0], rtol=1e-3, atol=1e-4)


def test_tokenizers_start_from_it(dinov2: DINOv2) -> None:
    model = build("robusttok", **SMALL, depth=2, decoder_depth=2, quantizer_settings={"codes": 8, "normalize": True})
    for side in (model.encoder, model.decoder):
        dinov2.fill(side.trunk)
        assert torch.equal(side.trunk.blocks[1].mlp.fc1.weight, dinov2.state["blocks.1.mlp.fc1.weight"])
    assert model(torch.zeros(1, 3, 32, 32)).output.isfinite().all()


@pytest.mark.parametrize("sizes", [(32, 3, 2), (32, 2, 4), (48, 2, 3)])
def test_other_sizes_are_refused(dinov2: DINOv2, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match=str(dinov2.source)):
        dinov2.fill(ViTTrunk(*sizes, grid=4, patch=14, layer_scale=0.1))


def test_what_is_no_dinov2_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        load_dinov2(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text("utf-8"), "utf-8")
    with pytest.raises(UsageError, match="DINOv2"):
        load_dinov2(str(tmp_path))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"zellige\[lm\]"):
        load_dinov2("facebook/dinov2-base")
