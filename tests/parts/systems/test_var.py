"""VAR: its cache, its mask, the codes that it takes from a tokenizer, and which tokens it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zellige
from tests.contract.tiny import TINY
from zellige.convert import load_official
from zellige.convert.var import VARAdapter
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.registry import build, card, system_class
from zellige.core.tokens import TokenSpec
from zellige.generate.guidance import Guidance
from zellige.systems.var import VAR

SCALES = ((1, 1), (2, 2), (3, 3))
SMALL: dict[str, Any] = {"layout": SCALES, "codebook": (17,), "classes": 3, "dim": 32, "depth": 2, "heads": 4}
SMALL |= {"code_dim": 6, "quantizer_settings": {"blends": 2}, "top_k": 0, "top_p": 1.0}


def made(**settings: Any) -> VAR:
    """A model with no zero in its modulations, and with codes that tell scales apart."""
    torch.manual_seed(0)
    model = build("var", **{**SMALL, **settings})
    assert isinstance(model, VAR)
    with torch.no_grad():
        for p in [*model.parameters(), *model.quantizer.buffers()]:
            p.add_(0.3 * torch.randn_like(p))
    return model.eval()


def drawn(model: VAR, labels: Tensor, **options: Any) -> tuple[Tensor, Tensor, list[int]]:
    """Greedy ids, the guided logits (B, L, V) that they were chosen from, and tokens of each pass of the network."""
    seen: list[Tensor] = []
    combine = Guidance.combine

    def record(self: Guidance, both: Tensor, progress: float) -> Tensor:
        seen.append(combine(self, both, progress))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guidance, "combine", record)
        ids = model.sample(labels, temperature=0, seed=0, **options).data
    return ids, torch.cat(seen, dim=1), [part.shape[1] for part in seen]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@torch.no_grad()
def test_cached_sampling_has_the_logits_of_the_whole_sequence(shared: bool, guidance: float) -> None:
    model, labels = made(shared_modulation=shared), torch.tensor([0, 2])
    ids, cached, passes = drawn(model, labels, guidance=guidance)
    assert passes == [1, 4, 9]  # as many passes as scales
    weight = 1 + (guidance - 1) * torch.tensor([0.0, 0.5, 1.0]).repeat_interleave(torch.tensor(passes))[:, None]
    null = model.logits(ids, torch.full_like(labels, model.classes))
    expected = null + weight * (model.logits(ids, labels) - null)
    torch.testing.assert_close(cached, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(ids, expected.argmax(-1))


@torch.no_grad()
def test_a_scale_sees_those_before_it_and_no_other() -> None:
    model, labels = made(), torch.tensor([1])
    ids = torch.randint(17, (1, 14))
    before = model.logits(ids, labels)
    changed = ids.clone()
    changed[:, 1:5] = (changed[:, 1:5] + 1) % 17
    after = model.logits(changed, labels)
    assert torch.equal(after[:, :5], before[:, :5])
    assert bool((after[:, 5:] != before[:, 5:]).any(-1).all())


def test_it_takes_the_codes_of_a_tokenizer() -> None:
    torch.manual_seed(0)
    tokenizer = build("var-vq", **TINY["var-vq"])
    assert isinstance(tokenizer, Tokenizer)
    tokens = tokenizer.encode(torch.rand(2, 3, tokenizer.image_size, tokenizer.image_size))
    model = build("var", for_tokens=tokens, tokenizer=tokenizer, classes=3, dim=32, depth=1, heads=2)
    assert isinstance(model, VAR)
    assert model.config.code_dim == 16
    assert (model.config.tokenizer, model.config.fingerprint) == (tokenizer.name, tokenizer.fingerprint())
    for key, value in tokenizer.quantizer.state_dict().items():
        assert torch.equal(model.quantizer.state_dict()[key], value)
    assert not {name for name, _ in model.named_parameters() if name.startswith("quantizer")}
    assert tokenizer.decode(model.sample(num=2, seed=0)).shape == (2, 3, tokenizer.image_size, tokenizer.image_size)
    with pytest.raises(UsageError, match=r"other codes.*tokenizer=…"):
        made().adopt(tokenizer)
    plain = build("vqgan", **TINY["vqgan"])
    with pytest.raises(UsageError, match=r"vqgan/.* has not; use var-vq"):
        made().adopt(plain)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="use var-vq"):
        build("var", for_tokens=tokens, tokenizer=plain)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TokenSpec(((4, 4),), (17,)), "such as var-vq, or llamagen, rar"),
        (TokenSpec(((2, 2), (1, 1)), (17,)), "from coarse to fine"),
        (TokenSpec(((1, 1), (2, 2)), (17, 17)), "one code at each position"),
        (TokenSpec(((4, 4),), (), 16), "use flowar"),
    ],
)
def test_tokens_it_cannot_model(spec: TokenSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("var/small", for_tokens=spec)


def official(**changes: Any) -> dict[str, Tensor]:
    settings = {key: value for key, value in {**SMALL, **changes}.items() if key not in ("top_k", "top_p")}
    with torch.device("meta"):
        shapes = VARAdapter().official_shapes(system_class("var").from_config(settings))
    generator = torch.Generator().manual_seed(0)
    return {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def test_an_official_file_lacks_the_codes_and_says_so(tmp_path: Path) -> None:
    layout = tuple((side, side) for side in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16))
    state = official(layout=layout, codebook=(32,), quantizer_settings={"blends": 4})
    buffers = {"lvl_1L": torch.zeros(1, 680), "blocks.0.attn.zero_k_bias": torch.zeros(32)}
    torch.save({**state, **buffers}, tmp_path / "var_dx.pth")
    model = load_official(tmp_path / "var_dx.pth")
    assert isinstance(model, VAR)
    assert (model.config.dim, model.config.depth, model.config.heads, model.classes) == (32, 2, 4, 3)
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in state.values())
    with pytest.raises(UsageError, match=r"without the codes of its tokenizer: give them by adopt"):
        model.sample(0)
    settings = {"codes": 32, "scales": [side for side, _ in layout], "blends": 4}
    tokenizer = build("var-vq", **{**TINY["var-vq"], "dim": 6, "quantizer_settings": settings})
    model.adopt(tokenizer)  # type: ignore[arg-type]
    assert model.sample(0, seed=0).spec == model.spec


def test_official_modulations_change_places_and_plain_attention_is_a_quarter_as_sharp() -> None:
    adapter = VARAdapter()
    state = official(qk_norm="none")
    model = adapter.build(state, layout=SCALES, quantizer_settings={"blends": 2})
    ours = model.state_dict()
    parts = state["blocks.0.ada_lin.1.bias"].chunk(6)  # gates, scales, shifts
    expected = torch.cat([parts[i] for i in (4, 2, 0, 5, 3, 1)])
    assert torch.equal(ours["transformer.blocks.0.modulation.linear.bias"], expected)
    scale, shift = state["head_nm.ada_lin.1.bias"].chunk(2)
    assert torch.equal(ours["norm.modulation.linear.bias"], torch.cat([shift, scale]))
    weight = state["blocks.1.attn.mat_qkv.weight"]
    torch.testing.assert_close(ours["transformer.blocks.1.attention.qkv.weight"][:32], 0.25 * weight[:32])
    assert torch.equal(ours["transformer.blocks.1.attention.qkv.weight"][32:], weight[32:])


@pytest.mark.parametrize("preset", ["d16", "d36-s"])
def test_the_shapes_of_released_files_are_recognised(preset: str) -> None:
    from zellige.convert import _fitting_presets

    found = card("var").preset(preset)
    assert found.weights is not None
    with torch.device("meta"):
        shapes = VARAdapter().official_shapes(zellige.build(f"var/{preset}"))
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert next(iter(_fitting_presets(VARAdapter(), state, found.weights.file))) == f"var/{preset}"
