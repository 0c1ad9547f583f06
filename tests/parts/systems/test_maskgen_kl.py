"""MaskGen-KL: what lies under a mask, what is learned from, and in which steps places are filled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contract.tiny import TINY
from tests.parts.systems.test_maskgen import texts
from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens, TokenSpec
from zellige.systems import maskgen_kl
from zellige.systems.maskgen_kl import MaskGenKL


def made(**settings: Any) -> MaskGenKL:
    torch.manual_seed(0)
    model = build("maskgen-kl", **{**TINY["maskgen-kl"], **settings})
    assert isinstance(model, MaskGenKL)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


@torch.no_grad()
def test_what_lies_under_a_mask_has_no_influence() -> None:
    model, latents, masked = made(), torch.randn(2, 6, 3), (torch.arange(6) < 4).expand(2, -1)
    vectors = model.vectors(latents, masked, texts())
    other = torch.where(masked[..., None], latents + 1, latents)
    assert torch.equal(model.vectors(other, masked, texts()), vectors)
    assert not torch.equal(model.vectors(latents + ~masked[..., None], masked, texts()), vectors)


def test_training_masks_as_many_in_every_sample_and_learns_from_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = made(repeats=2, latent_scale=0.5).train(), []

    def loss(predict: Any, data: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        seen.append(data)
        return predict(data, steps).square().mean(-1)

    monkeypatch.setattr(maskgen_kl, "diffusion_loss", loss)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full((2,) if shape == (2,) else (), 0.5))
    latents = torch.arange(2 * 6 * 3.0).view(2, 6, 3)
    monkeypatch.setattr(maskgen_kl, "random_masks", lambda counts, length: torch.arange(length) < counts[:, None])
    model.loss(Tokens(None, ((6,),), latents=latents), texts())
    # 2/π · arccos ½ = ⅔ of six, of both samples, twice
    assert torch.equal(seen[0], 0.5 * latents[:, :4].flatten(0, 1).repeat(2, 1)[None])


def test_places_are_filled_once_and_guidance_follows_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = made(), []

    def sample(
        predict: Any, start: Tensor, steps: int, noise: Any, *, guidance: float, temperature: float, clip: float
    ) -> Tensor:
        assert clip == 2.5
        calls.append((start.shape[1], steps, guidance, temperature))
        rows = 1 if guidance == 1 else 2
        assert predict(start.repeat(rows, 1, 1), torch.zeros(2 * rows, start.shape[1]).long()).shape[0] == 2 * rows
        return torch.full_like(start, float(len(calls)))

    monkeypatch.setattr(maskgen_kl, "sample_diffusion", sample)
    tokens = model.sample(texts(), seed=0, steps=4, diffusion_steps=9, guidance=3.0, temperature=0.7, clip=2.5)
    # of six places ⌊6 cos(π/8)⌋ = 5, 4, 2 and none stay; w is 1 + 2 · the share that is filled, but for one at the end
    assert [call[0] for call in calls] == [1, 1, 2, 2]
    assert [call[2] for call in calls] == pytest.approx([1 + 2 / 6, 1 + 4 / 6, 1 + 8 / 6, 1 + 10 / 6])
    assert {call[1:2] + call[3:] for call in calls} == {(9, 0.7)}
    filled = (tokens.data * model.config.latent_scale).round().sort(dim=1).values[..., 0]
    assert filled.tolist() == [[1, 2, 3, 3, 4, 4]] * 2
    calls.clear()
    model.sample(texts(), seed=0, steps=20, guidance=1.0, clip=2.5)  # more steps than places
    assert sum(call[0] for call in calls) == 6


def test_codes_and_several_blocks_are_refused() -> None:
    with pytest.raises(UsageError, match="are codes: use a tokenizer such as kl-vae, or maskgen"):
        build("maskgen-kl/small", for_tokens=TokenSpec(((4, 4),), (13,)))
    with pytest.raises(UsageError, match="in one block"):
        build("maskgen-kl/small", for_tokens=TokenSpec(((1, 1), (2, 2)), (), 4))
