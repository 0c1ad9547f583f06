"""Techniques around the quantizer of a tokenizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.contract.tiny import TINY
from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.latent.align import SemanticAlignment
from zellige.latent.perturbation import LatentPerturbation, usual_delta
from zellige.latent.technique import Pass, Technique, Techniques, Trained, attach
from zellige.systems.vqgan import VQGAN

SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "decoder_blocks": 1, "latent": 8, "norm": "channel"}


def tokenizer(**changes: object) -> VQGAN:
    torch.manual_seed(0)
    made = build("vqgan/f8", **{**SMALL, "dim": 4, "quantizer_settings": {"codes": 80}, **changes})
    assert isinstance(made, VQGAN)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("embedding.weight"):
                parameter.normal_()
    return made


def images(batch: int = 4) -> Tensor:
    return torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Shift(Technique):
    """Every hook, with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(1))

    def on_latents(self, z: Tensor, seen: Pass) -> Tensor:
        return z + self.by

    def on_quantized(self, quantized: Tensor, seen: Pass) -> Tensor:
        return quantized * (1 + seen.progress)

    def loss(self, seen: Pass) -> dict[str, Tensor]:
        seen.stats["share"] = torch.tensor(seen.progress)
        return {"shift": self.by.square().sum()}


def test_hooks_run_in_training_alone() -> None:
    model = tokenizer()
    plain = model(images())
    techniques = Techniques({"shift": Shift()})
    techniques.progress = 0.5
    attach(model, techniques)
    shifted = model(images())
    assert shifted.losses["shift"] == 1
    assert shifted.stats["share"] == 0.5
    z = plain.latents + 1
    assert torch.equal(shifted.tokens.ids, model.quantizer.encode(z))
    torch.testing.assert_close(shifted.quantized, 1.5 * model.quantizer(z).z_q)
    assert torch.equal(model.eval()(images()).output, plain.output)
    attach(model.train(), None)
    assert torch.equal(model(images()).output, plain.output)


def test_techniques_are_no_part_of_the_tokenizer() -> None:
    model = tokenizer()
    keys, fingerprint = set(model.state_dict()), model.fingerprint()
    trained = Trained(model, Techniques({"shift": Shift()}))
    assert set(model.state_dict()) == keys
    assert model.fingerprint() == fingerprint
    assert len(list(trained.parameters())) == len(list(model.parameters())) + 1
    trained(images()).losses["shift"].backward()
    assert next(trained.techniques.parameters()).grad == 2


def test_two_losses_of_one_name_are_refused() -> None:
    model = tokenizer()
    attach(model, Techniques({"a": Shift(), "b": Shift()}))
    with pytest.raises(UsageError, match="technique 'b' adds the loss 'shift'"):
        model(images())


@pytest.mark.parametrize("around", ["feature", "code"])
def test_perturbation_reaches_the_decoder_and_no_loss_of_codes(around: str) -> None:
    model = tokenizer()
    plain = model(images())
    technique = LatentPerturbation(beta=0.5, delta=40, around=around)
    technique.prepare(model, 4)
    attach(model, Techniques({"perturbation": technique}))
    torch.manual_seed(0)
    found = model(images())
    assert torch.equal(found.tokens.ids, plain.tokens.ids)
    assert all(torch.equal(found.losses[name], value) for name, value in plain.losses.items())
    changed = (found.output != plain.output).flatten(1).any(1)
    assert changed.tolist() == [True, True, False, False]
    assert 0.4 < found.stats["perturbed"] <= 0.5


def test_perturbation_falls_over_the_run() -> None:
    model = tokenizer()
    techniques = Techniques({"perturbation": LatentPerturbation(alpha=0.8, beta=1.0, delta=40, anneal_ratio=0.25)})
    attach(model, techniques)
    for progress, alpha, delta in ((0.0, 0.8, 40), (0.5, 0.35, 17), (1.0, 0.2, 10)):
        techniques.progress = progress
        stats = model(images()).stats
        assert stats["perturb_alpha"] == pytest.approx(alpha)
        assert stats["perturb_delta"] == delta


def test_perturbation_of_what_another_technique_left() -> None:
    model = tokenizer()
    plain = model(images())
    both = Techniques({"shift": Shift(), "perturbation": LatentPerturbation(beta=0.5, delta=1)})
    both.progress = 1.0
    nn.init.zeros_(both.members["shift"].by)
    attach(model, both)
    torch.testing.assert_close(model(images()).quantized, 2 * plain.quantized)


@pytest.mark.parametrize(
    ("codebook", "delta"), [((4096,), 102), ((16384,), 400), ((2**18,), 400), ((9, 512), 2), ((40,), 2), ((1,), 1)]
)
def test_usual_neighbourhoods(codebook: tuple[int, ...], delta: int) -> None:
    assert usual_delta(codebook) == delta


def test_some_image_is_perturbed_whatever_the_batch() -> None:
    assert [LatentPerturbation().samples(batch) for batch in (1, 4, 49, 128)] == [1, 1, 4, 12]
    assert LatentPerturbation(beta=0.1).samples(128) == 12
    with pytest.raises(UsageError, match=r"beta=0\.1 of batches of 8 .* set beta to 0\.125 or more"):
        LatentPerturbation(beta=0.1).prepare(tokenizer(), 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 2}, "alpha"),
        ({"beta": -1}, "beta"),
        ({"around": "token"}, "unknown neighbourhood 'token'"),
        ({"anneal_start": 0.9}, "annealing ends after it starts"),
        ({"anneal_formula": "linear"}, "unknown formula"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LatentPerturbation(**settings)


def test_perturbation_does_not_go_with_what_it_cannot_perturb() -> None:
    with pytest.raises(UsageError, match="delta=81 neighbours"):
        LatentPerturbation(delta=81).prepare(tokenizer(), 4)
    with pytest.raises(UsageError, match="continuous latents"):
        LatentPerturbation().prepare(tokenizer(quantizer="gaussian", quantizer_settings={}), 4)


class Colours(nn.Module):
    """A frozen encoder: mean colours."""

    width = 3

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Repeated(Colours):
    """Mean colours, several times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.width = 3 * times

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).repeat(1, self.width // 3)


def test_alignment_trains_encoder_and_projection() -> None:
    model = tokenizer()
    technique = SemanticAlignment(Colours(), weight=0.5)
    technique.prepare(model, 4)
    trained = Trained(model, Techniques({"alignment": technique}))
    loss = trained(images()).losses["semantic"]
    loss.backward()
    a, b = technique.project(images().mean((2, 3))), model(images()).quantized.mean(1)
    logits, own = a @ b.T, torch.arange(4)
    want = (nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)) / 4
    torch.testing.assert_close(loss, want)
    assert technique.project.weight.grad.abs().sum() > 0
    assert model.project_in.weight.grad.abs().sum() > 0
    assert model.project_out.weight.grad is None


@pytest.mark.parametrize("codes", ["clean", "perturbed"])
def test_alignment_of_clean_or_of_perturbed_codes(codes: str) -> None:
    model = tokenizer()
    align = SemanticAlignment(Colours(), codes=codes)
    align.prepare(model, 4)
    alone, both = (
        {"perturbation": perturb, "alignment": align} if perturb else {"alignment": align}
        for perturb in (None, LatentPerturbation(beta=1.0, delta=80))
    )
    losses = []
    for members in (alone, both):
        attach(model, Techniques(members))
        losses.append(model(images()).losses["semantic"])
    assert (losses[0] == losses[1]) == (codes == "clean")


def test_alignment_through_the_projection_of_the_tokenizer() -> None:
    model = tokenizer(latent=3)
    technique = SemanticAlignment(Colours(), projection="tokenizer")
    technique.prepare(model, 4)
    attach(model, Techniques({"alignment": technique}))
    model(images()).losses["semantic"].backward()
    assert not list(technique.parameters())
    with pytest.raises(UsageError, match="projects 8 channels, but the encoder gives 3"):
        technique.prepare(tokenizer(), 4)


def test_alignment_of_the_last_of_two_branches() -> None:
    """Where the projection gives the dimensions of one branch, as in XQ-GAN."""
    model = build("robusttok", **{**TINY["robusttok"], "branches": 2, "width": 3 * 16})
    technique = SemanticAlignment(Repeated(16), projection="tokenizer")
    technique.prepare(model, 4)
    attach(model, Techniques({"alignment": technique}))
    x = torch.nn.functional.interpolate(images(), 32)
    found = model(x)
    a = model.project_in(Repeated(16)(x)[..., None, None]).flatten(1)
    logits, own = a @ found.quantized[..., 4:].mean(1).T, torch.arange(4)
    want = (nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)) / 20
    torch.testing.assert_close(found.losses["semantic"], want)


def test_alignment_needs_other_images_and_features() -> None:
    with pytest.raises(UsageError, match="batch_size to 2"):
        SemanticAlignment(Colours()).prepare(tokenizer(), 1)
    with pytest.raises(UsageError, match="no feature vectors"):
        SemanticAlignment(nn.Identity())
    with pytest.raises(UsageError, match="above 0"):
        SemanticAlignment(Colours(), weight=0)
    with pytest.raises(UsageError, match="unknown kind of codes"):
        SemanticAlignment(Colours(), codes="paper")
