"""Every preset is found again by the shapes of its official file."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zellige.convert import _fitting_presets, find_adapter
from zellige.convert.robusttok import RobustTokAdapter
from zellige.core.errors import DataError
from zellige.core.registry import build, card

PRESETS = list(card("robusttok").presets)


def official(preset: str, scales: int = 10) -> dict[str, Tensor]:
    """The official state of a preset, without numbers, and with the counters that are no part of the model."""
    with torch.device("meta"):
        model = build(f"robusttok/{preset}")
    state = {key: torch.empty(shape, device="meta") for key, shape in RobustTokAdapter().official_shapes(model).items()}
    name = "quantize" if model.config.branches == 1 else "quantizes.0"
    shape = (scales, model.codebook[0]) if model.config.quantizer == "multiscale" else (model.codebook[0],)
    beside = {"semantic_model.norm.bias": (768,), "detail_model.norm.bias": (768,), "encoder.lvl1LC": (1, 513)}
    return state | {
        key: torch.empty(size, device="meta") for key, size in {f"{name}.ema_vocab_hit_SV": shape, **beside}.items()
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_found_by_its_shapes(preset: str) -> None:
    state = official(preset)
    adapter = find_adapter(state)
    assert adapter.system == "robusttok"
    assert f"robusttok/{preset}" in _fitting_presets(adapter, state, "best_ckpt.pt")


def test_a_name_decides_between_presets_of_one_architecture() -> None:
    for file, preset in (("XQGAN-4096.pt", "vq-4096"), ("RobustTok-zero.pt", "robusttok")):
        assert next(iter(_fitting_presets(RobustTokAdapter(), official("vq-4096"), file))) == f"robusttok/{preset}"


def test_scales_that_are_not_known_are_asked_for() -> None:
    with pytest.raises(DataError, match="sides of its scales"):
        RobustTokAdapter().build(official("msvr10p2-4096", scales=7))
