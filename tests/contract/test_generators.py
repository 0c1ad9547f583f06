"""What every generator promises, on a tiny configuration of each that the registry knows."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import zellige
from tests.contract.tiny import TINY
from zellige.core.condition import Condition, TextFeatures
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.core.registry import build, cards, system_class
from zellige.core.tokens import Tokens, TokenSpec, layout_size

GENERATORS = [
    name
    for name, card in cards().items()
    if card.status == "available" and name in TINY and issubclass(system_class(name), Generator)
]


@pytest.fixture(scope="module", params=GENERATORS)
def fresh(request: pytest.FixtureRequest) -> Generator:
    """As built; what a test changes, it changes on a copy."""
    torch.manual_seed(0)
    return build(request.param, **TINY[request.param])  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(fresh: Generator) -> Generator:
    """Weights off their start, where heads and modulations are zero."""
    model = copy.deepcopy(fresh)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model.eval()


def tokens_for(model: Generator, batch: int = 3) -> Tokens:
    """Random tokens that the model is made for."""
    spec, generator = model.spec, torch.Generator().manual_seed(0)
    shape = (batch, layout_size(spec.layout))
    if not spec.codebook:
        return Tokens(None, spec.layout, latents=torch.randn(*shape, spec.dim, generator=generator))
    ids = torch.stack([torch.randint(k, shape, generator=generator) for k in spec.codebook], dim=-1)
    return Tokens(ids.squeeze(-1) if len(spec.codebook) == 1 else ids, spec.layout, spec.codebook)


def conditions(model: Generator, batch: int = 3) -> Condition:
    if model.text_dim:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(batch, 5, model.text_dim, generator=generator)
        pooled = torch.randn(batch, model.text_dim, generator=generator) if model.pooled else None
        return TextFeatures(features, pooled=pooled)
    return torch.arange(batch) % model.classes if model.classes else None


def row(condition: Condition, index: int) -> Condition:
    if isinstance(condition, TextFeatures):
        return condition.each(lambda part: part[index : index + 1])
    return condition[index : index + 1] if isinstance(condition, Tensor) else None


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def test_samples_are_tokens_of_its_kind(model: Generator) -> None:
    tokens = model.sample(conditions(model), seed=0)
    assert tokens.spec == model.spec
    assert len(tokens) == 3
    if tokens.ids is not None:
        assert tokens.ids.dtype == torch.int64
        assert tokens.ids.min() >= 0
        assert torch.all(tokens.ids.reshape(-1, len(tokens.codebook)) < torch.tensor(tokens.codebook))
    assert torch.isfinite(total(model.loss(tokens, conditions(model))))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_sample_depends_on_its_seed_and_not_on_its_batch(model: Generator, guidance: float) -> None:
    condition = conditions(model)
    together = model.sample(condition, seed=7, guidance=guidance)
    again = model.sample(condition, seed=[7, 8, 9], guidance=guidance)
    alone = model.sample(row(condition, 1), seed=8, guidance=guidance)
    torch.testing.assert_close(again.data, together.data, rtol=0, atol=0)
    torch.testing.assert_close(alone.data, together[1].data, rtol=1e-4, atol=1e-5)  # a diffusion magnifies rounding
    assert not torch.equal(model.sample(condition, seed=100, guidance=guidance).data, together.data)


def test_sampling_leaves_the_random_state_and_the_mode_alone(model: Generator) -> None:
    before = torch.get_rng_state()
    model.train()
    first = model.sample(num=2, seed=3)
    assert model.training
    model.eval()
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(model.sample(num=2, seed=3).data, first.data)
    assert len(model.sample()) == 1
    assert len(model.sample(seed=[1, 2])) == 2


def test_the_condition_and_guidance_matter(model: Generator) -> None:
    tokens, several = tokens_for(model, 16), conditions(model, 16)
    assert several is not None, f"{model.name} takes no condition: say here what it is judged by instead"
    other = (
        several.each(lambda part: part.flip(0)) if isinstance(several, TextFeatures) else torch.as_tensor(several) * 0
    )

    def loss(condition: Condition) -> Tensor:
        torch.manual_seed(0)  # of the masks, orders and times
        return total(model.loss(tokens, condition))

    with torch.no_grad():
        assert loss(several) == loss(several)
        assert loss(several) != loss(other)
        assert loss(several) != loss(None)
    without, with_guidance = (model.sample(several, seed=0, guidance=w).data for w in (1.0, 30.0))
    assert not torch.equal(without, with_guidance)


def test_a_saved_model_comes_back(model: Generator, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert "generator = zellige.load(" in (tmp_path / "README.md").read_text()
    again = zellige.load(tmp_path, kind=Generator, quiet=True)
    assert (again.name, again.config, again.spec) == (model.name, model.config, model.spec)
    assert again.fingerprint() == model.fingerprint()
    torch.testing.assert_close(again.sample(num=2, seed=1).data, model.sample(num=2, seed=1).data)
    with pytest.raises(UsageError, match="no tokenizer"):
        zellige.load(tmp_path, kind=zellige.Tokenizer)


def test_gradient_reaches_every_parameter_and_it_overfits_one_batch(fresh: Generator) -> None:
    model = copy.deepcopy(fresh).train()
    for part in model.modules():  # so that one batch can be learned by heart
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    model.progress(1.0)
    torch.manual_seed(0)  # of masks, orders and times, whatever ran before
    tokens, condition = tokens_for(model), conditions(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    reached: set[str] = set()
    losses = []
    for _ in range(120):
        loss = total(model.loss(tokens, condition))
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
        reached |= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]  # single steps draw easy and hard masks and times
    assert not {name for name, _ in model.named_parameters()} - reached


def test_checkpointing_changes_no_gradient(model: Generator) -> None:
    model = copy.deepcopy(model).train()
    gradients = []
    for enabled in (False, True):
        model.checkpoint_gradients(enabled)
        model.zero_grad()
        torch.manual_seed(0)
        total(model.loss(tokens_for(model), conditions(model))).backward()
        gradients.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)


def test_it_samples_in_bfloat16(model: Generator) -> None:
    tokens = copy.deepcopy(model).bfloat16().sample(conditions(model), seed=0)
    assert tokens.spec == model.spec


def test_it_is_built_for_the_tokens_it_is_given(model: Generator) -> None:
    tokens = tokens_for(model)
    built = build(model.system, for_tokens=tokens, **TINY[model.system])
    assert built.spec == tokens.spec
    other = TokenSpec(((5, 5, 5, 5),), (2, 3))
    with pytest.raises(UsageError, match=model.system):
        build(model.system, for_tokens=other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"guidance": -1.0}, "guidance is a number from 0 up"),
        ({"temperature": -0.5}, "temperature"),
        ({"seed": -1}, "from 0 up"),
        ({"num": 0}, "from 1 up"),
        ({"num": 2, "seed": [1]}, "1 seeds for 2 samples"),
        ({"tempersture": 1}, "is sampled without 'tempersture'; it has"),
    ],
)
def test_what_cannot_be_sampled(model: Generator, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.sample(**arguments)


def test_wrong_conditions_and_tokens_are_refused(model: Generator) -> None:
    tokens = tokens_for(model)
    if model.classes:
        with pytest.raises(UsageError, match=f"there is no class {model.classes}"):
            model.sample(model.classes)
        with pytest.raises(UsageError, match="no text"):
            model.sample(TextFeatures(torch.zeros(1, 2, 4)))
        with pytest.raises(UsageError, match="2 conditions for 3 samples"):
            model.loss(tokens, [0, 1])
    if model.text_dim:
        for wrong in (0, TextFeatures(torch.zeros(1, 2, model.text_dim + 1))):
            with pytest.raises(UsageError, match=r"takes text as TextFeatures \(B, T, "):
                model.sample(wrong)
    if model.pooled:
        with pytest.raises(UsageError, match=r"TextFeatures\.pooled"):
            model.sample(TextFeatures(torch.zeros(1, 2, model.text_dim)))
    if tokens.latents is None:
        other = replace(tokens, codebook=tuple(k + 1 for k in tokens.codebook))
    else:
        other = replace(tokens, latents=tokens.latents[..., 1:])
    with pytest.raises(UsageError, match="for_tokens"):
        model.loss(other)
    with pytest.raises(UsageError, match="of one length"):
        model.loss(replace(tokens, lengths=torch.tensor([1, 1, 1])))
