"""Vision transformers that start from DINOv2, and discriminators on networks whose weights may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from zellige.core.errors import UsageError, ZelligeWarning
from zellige.core.registry import build
from zellige.nn.features.vit import ViTFeatures
from zellige.train.backbone import start_from_backbone
from zellige.train.objective import make_adversary
from zellige.train.recipe import Adversarial, load_recipe

SMALL: dict[str, Any] = {"image_size": 32, "patch": 8, "width": 32, "decoder_width": 32, "depth": 1, "decoder_depth": 1}


def tokenizer() -> Any:
    settings = {"latents": 16, "dim": 4, "head_width": 16, "quantizer_settings": {"codes": 8, "normalize": True}}
    return build("robusttok", **SMALL, **settings)


def test_both_sides_start_from_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra lm")
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    model = tokenizer()
    start_from_backbone(model, str(tmp_path))
    first, second = (side.trunk.blocks[0].attn.qkv.weight for side in (model.encoder, model.decoder))
    assert torch.equal(first, second)


def test_without_it_training_starts_from_random_weights_with_a_warning(tmp_path: Path) -> None:
    model = tokenizer()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.warns(ZelligeWarning, match="random weights"):
        start_from_backbone(model, str(tmp_path / "nowhere"))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_other_tokenizers_have_nothing_to_start() -> None:
    with pytest.raises(UsageError, match="no vision transformer"):
        start_from_backbone(build("vqgan/f8", channels=32, multipliers=(1, 2)), "facebook/dinov2-base")


def test_the_recipe_of_the_paper_asks_for_all_of_it() -> None:
    recipe = load_recipe("robusttok/paper")
    assert recipe.backbone == "facebook/dinov2-base"
    assert recipe.loss.adversarial.discriminator == "dino"
    assert recipe.techniques["alignment"]["encoder"] == "dinov2"


def test_a_discriminator_on_dino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZELLIGE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=r"dino_deitsmall16_pretrain\.pth.*looked in.*'features'"):
        make_adversary(Adversarial(weight=0.5, discriminator="dino"))
    torch.save(ViTFeatures().state_dict(), tmp_path / "own.pth")
    settings = {"weights": str(tmp_path / "own.pth")}
    adversary = make_adversary(Adversarial(weight=0.5, discriminator="dino", settings=settings))
    assert len(adversary.discriminator.heads) == 5
