"""RobustTok's branches and layouts, and the presets whose quantizers are made of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zellige.convert.robusttok import RobustTokAdapter, semantic_model
from zellige.core.errors import DataError, UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens

_SIDES = {"width": 32, "depth": 1, "decoder_width": 32, "decoder_depth": 1, "head_width": 16}
SMALL: dict[str, Any] = {"image_size": 32, "patch": 8, **_SIDES, "latents": 16, "dim": 4, "drop_path": 0.0}
QUANTIZERS: dict[str, dict[str, Any]] = {
    "one": {"quantizer_settings": {"codes": 8, "normalize": True}},
    "two": {"branches": 2, "quantizer_settings": {"codes": 8, "normalize": True}},
    "scales": {
        "branches": 2,
        "quantizer": "multiscale",
        "quantizer_settings": {"codes": 8, "scales": [1, 2, 3, 4], "search": "cosine"},
    },
    "signs": {
        "branches": 2,
        "quantizer": "multiscale",
        "quantizer_settings": {"codes": 16, "scales": [1, 2, 3, 4], "search": "sign"},
    },
    "own positions": {"positions": "own", "quantizer_settings": {"codes": 8, "normalize": True}},
}
LAYOUTS = {"scales": ((1, 1), (2, 2), (3, 3), (4, 4)), "signs": ((1, 1), (2, 2), (3, 3), (4, 4))}


@pytest.mark.parametrize("case", QUANTIZERS)
def test_every_quantizer_round_trips(case: str) -> None:
    torch.manual_seed(0)
    model = build("robusttok", **SMALL, **QUANTIZERS[case]).eval()
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    tokens = model.encode(x)
    assert tokens.layout == LAYOUTS.get(case, ((4, 4),))
    assert tokens.data.shape[2:] == ((2,) if model.config.branches == 2 else ())
    with torch.no_grad():
        torch.testing.assert_close(model(x).output.clamp(-1, 1), model.decode(tokens), rtol=0, atol=1e-4)
    z, again = model.encode_latents(x)
    assert z.shape == (2, 16, 4 * model.config.branches)
    assert torch.equal(again.data, tokens.data)


@pytest.mark.parametrize("case", QUANTIZERS)
def test_official_tensors_come_back(case: str) -> None:
    adapter = RobustTokAdapter()
    torch.manual_seed(0)
    model = build("robusttok", **SMALL, **QUANTIZERS[case])
    state = {key: torch.randn(shape) for key, shape in adapter.official_shapes(model).items()}
    converted = adapter.convert(state, model.config)
    assert set(converted) == set(model.state_dict())
    model.load_state_dict(converted)
    assert not adapter.differences(state, model)


def test_branches_are_sets_of_tokens() -> None:
    model = build("robusttok", **SMALL, **QUANTIZERS["two"]).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        sequence = model.project_in(model.encoder(x).transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        first, second = model.latents(x).chunk(2, dim=-1)
    torch.testing.assert_close(first, sequence[:, :16])
    torch.testing.assert_close(second, sequence[:, 16:])


def test_what_cannot_be_is_refused() -> None:
    model = build("robusttok", **SMALL, **QUANTIZERS["one"])
    with pytest.raises(UsageError, match="layout"):
        model.decode(Tokens(torch.zeros(1, 4, dtype=torch.long), ((2, 2),), model.codebook))
    for wrong, text in (
        ({"latents": 15}, "square"),
        ({"patch": 5}, "patches"),
        ({"branches": 0}, "branch"),
        ({**QUANTIZERS["scales"], "latents": 25}, "scales"),
    ):
        with pytest.raises(UsageError, match=text):
            build("robusttok", **{**SMALL, **QUANTIZERS["one"], **wrong})
    with pytest.raises(DataError, match="semantic model"):
        semantic_model({})
