"""FlowAR: its cache, its mask, its two flow heads, guidance over scales and times, official files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.convert import load_official
from zellige.convert.flowar import FlowARAdapter
from zellige.core.errors import UsageError
from zellige.core.registry import build, card, system_class
from zellige.core.tokens import Tokens, TokenSpec
from zellige.systems import flowar
from zellige.systems.flowar import FlowAR

SMALL: dict[str, Any] = {
    "layout": ((4, 4),),
    "latent_dim": 3,
    "classes": 3,
    "dim": 32,
    "depths": (1, 2),
    "heads": (2, 2),
}
SMALL |= {"head_width": 16, "head_depth": 2, "steps": 4}
crosses = pytest.mark.parametrize("cross", [False, True])


def made(**settings: Any) -> FlowAR:
    torch.manual_seed(0)
    model = build("flowar", **{**SMALL, **settings})
    assert isinstance(model, FlowAR)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def drawn(model: FlowAR, labels: Tensor, **options: Any) -> tuple[list[Tensor], list[tuple[int, Tensor]]]:
    """The scales of a sample, and of each velocity its scale and the conditions that it was given."""
    scales: list[Tensor] = []
    told: list[tuple[int, Tensor]] = []
    sample, velocity = flowar.sample_flow, FlowAR.velocity

    def keep(*args: Any, **kwargs: Any) -> Tensor:
        scales.append(sample(*args, **kwargs))
        return scales[-1]

    def listen(self: FlowAR, x: Tensor, times: Tensor, semantics: Tensor, index: int) -> Tensor:
        told.append((index, semantics))
        return velocity(self, x, times, semantics, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flowar, "sample_flow", keep)
        patch.setattr(FlowAR, "velocity", listen)
        latents = model.sample(labels, seed=0, **options).data
    assert torch.equal(latents, scales[-1])
    return scales, told


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@torch.no_grad()
def test_cached_sampling_has_the_conditions_of_the_whole_sequence(guidance: float) -> None:
    model, labels = made(), torch.tensor([0, 2])
    scales, told = drawn(model, labels, guidance=guidance)
    assert [scale.shape[1] for scale in scales] == [1, 4, 16]
    null = torch.full_like(labels, model.classes)
    expected = torch.cat([model.semantics(scales, labels), model.semantics(scales, null)])
    for index, semantics in told:
        whole = expected[: len(semantics), model._slots(index)]
        torch.testing.assert_close(semantics, whole, rtol=1e-4, atol=1e-4)


def test_guidance_grows_over_the_scales_and_ends_at_its_times() -> None:
    model = made()
    _, told = drawn(model, torch.tensor([0, 2]), guidance=3.0, guided=(0.0, 0.6), grid="uniform")
    rows = [[len(semantics) for k, semantics in told if k == index] for index in range(3)]
    assert rows == [[2] * 4, [2, 2, 4, 4], [2, 2, 4, 4]]  # the first scale is not guided


@torch.no_grad()
def test_a_scale_sees_those_before_it_and_no_other() -> None:
    model, labels = made(), torch.tensor([1])
    targets = model.targets(torch.randn(1, 16, 3))
    before = model.semantics(targets, labels)
    after = model.semantics([targets[0], targets[1] + 1, targets[2]], labels)
    assert torch.equal(after[:, :5], before[:, :5])
    assert bool((after[:, 5:] != before[:, 5:]).any(-1).all())
    same = model.semantics([*targets[:2], targets[2] + 1], labels)
    assert torch.equal(same, before)  # the finest is an input of none


@crosses
@torch.no_grad()
def test_the_flow_head_listens_at_each_token(cross: bool) -> None:
    model = made(cross=cross)
    x, semantics, times = torch.randn(1, 16, 3), torch.randn(1, 16, 32), torch.tensor([0.4])
    changed = semantics.clone()
    changed[:, 5] += 1
    difference = model.velocity(x, times, changed, 2) - model.velocity(x, times, semantics, 2)
    moved = difference.abs().sum(-1)[0]
    assert int(moved.argmax()) == 5
    assert not torch.equal(model.velocity(x, torch.tensor([0.5]), semantics, 2), model.velocity(x, times, semantics, 2))


def test_gradients_are_the_same_with_checkpoints_in_the_flow_head() -> None:
    model = made(dropout=0.0, class_dropout=0.0).train()
    tokens = Tokens(None, model.spec.layout, latents=torch.randn(2, 16, 3))
    found = []
    for enabled in (False, True):
        model.checkpoint_gradients(enabled)
        assert model.head.checkpointing == enabled
        torch.manual_seed(0)
        model.zero_grad()
        model.loss(tokens, [0, 1])["flow"].backward()
        found.append([p.grad.clone() for p in model.head.parameters() if p.grad is not None])
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(kept, recomputed)


def test_any_grid_of_latents_is_modelled_and_nothing_else() -> None:
    model = build("flowar/small", for_tokens=TokenSpec(((3, 5),), (), 4), classes=2)
    assert isinstance(model, FlowAR)
    assert model.scales == ((1, 1), (1, 2), (2, 3), (3, 5))
    assert model.sample(0, seed=0, steps=2).spec == model.spec
    with pytest.raises(UsageError, match="are codes: use a tokenizer such as kl-vae"):
        build("flowar/small", for_tokens=TokenSpec(((4, 4),), (17,)))
    with pytest.raises(UsageError, match="on one grid"):
        build("flowar/small", for_tokens=TokenSpec(((16,),), (), 4))
    with pytest.raises(UsageError, match="in 2 steps or more"):
        model.sample(0, steps=1)
    with pytest.raises(UsageError, match="guided is"):
        model.sample(0, guided=(0.5, 0.1))


def official(**changes: Any) -> dict[str, Tensor]:
    settings = {key: value for key, value in {**SMALL, **changes}.items() if key != "steps"}
    with torch.device("meta"):
        shapes = FlowARAdapter().official_shapes(system_class("flowar").from_config(settings))
    generator = torch.Generator().manual_seed(0)
    return {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@crosses
def test_official_files_tell_their_configuration(cross: bool, tmp_path: Path) -> None:
    state = official(cross=cross, heads=(4, 2), hidden=50)
    waves = {f"{stage}_blocks.0.attn.rope.freqs": torch.zeros(n) for stage, n in (("encoder", 2), ("decoder", 4))}
    buffers = {"mask": torch.zeros(1, 1, 21, 21), **waves}
    torch.save({**state, **buffers}, tmp_path / "x.pth")
    model = load_official(tmp_path / "x.pth")
    expected = {**SMALL, "cross": cross, "heads": (4, 2), "hidden": 50}
    assert {key: getattr(model.config, key) for key in expected if key != "steps"} == {
        key: value for key, value in expected.items() if key != "steps"
    }
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in state.values())
    name = "ada_lin_mlp" if cross else "ada_lin"
    parts = state[f"flownet.res_blocks.1.{name}.bias"].chunk(3 if cross else 6)
    order = (2, 1, 0) if cross else (4, 2, 0, 5, 3, 1)
    ours = model.state_dict()[f"head.blocks.1.modulation{'2' if cross else ''}.linear.bias"]
    assert torch.equal(ours, torch.cat([parts[i] for i in order]))
    final = state["flownet.final_layer.adaLN_modulation.1.bias"]
    assert torch.equal(model.state_dict()["head.norm.modulation.linear.bias"], final)


@pytest.mark.parametrize("preset", ["s", "l", "h"])
def test_the_shapes_of_released_files_are_recognised(preset: str) -> None:
    from zellige.convert import _fitting_presets

    found = card("flowar").preset(preset)
    assert found.weights is not None
    with torch.device("meta"):
        shapes = FlowARAdapter().official_shapes(build(f"flowar/{preset}"))
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert next(iter(_fitting_presets(FlowARAdapter(), state, found.weights.file))) == f"flowar/{preset}"
