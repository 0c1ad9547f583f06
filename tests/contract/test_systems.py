"""What every tokenizer promises, on a tiny configuration of each that the registry knows."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zellige
from tests.contract.tiny import TINY
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.registry import build, cards, system_class
from zellige.core.tokens import Tokens, layout_size

AVAILABLE = [name for name, card in cards().items() if card.status == "available"]
TOKENIZERS = [name for name in AVAILABLE if name in TINY and issubclass(system_class(name), Tokenizer)]


def test_every_available_system_has_a_tiny_configuration() -> None:
    assert set(TINY) == set(AVAILABLE)


@pytest.fixture(scope="module", params=TOKENIZERS)
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    """Fresh weights; what a test changes, it changes on a copy."""
    torch.manual_seed(0)
    return build(request.param, **TINY[request.param])


@pytest.fixture
def model(trained: Tokenizer) -> Tokenizer:
    return trained.eval()


def pixels(model: Tokenizer, batch: int = 2, seed: int = 0) -> Tensor:
    """Smooth pictures, (batch, 3, size, size) in [-1, 1]."""
    size = model.image_size or 4 * model.stride
    coarse = torch.rand(batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bilinear")


def equal(a: Tokens, b: Tokens) -> bool:
    same = torch.equal if a.ids is not None else partial(torch.allclose, atol=1e-4)
    return a.layout == b.layout and a.codebook == b.codebook and same(a.data, b.data)


def test_round_trip_keeps_the_shape_and_the_range(model: Tokenizer) -> None:
    x = pixels(model)
    tokens = model.encode(x)
    decoded = model.decode(tokens)
    assert decoded.shape == x.shape
    assert decoded.dtype == torch.float32
    assert decoded.abs().max() <= 1


def test_tokens_obey_their_layout_and_codebook(model: Tokenizer) -> None:
    tokens = model.encode(pixels(model))
    assert tokens.codebook == model.codebook
    assert tokens.num_tokens == layout_size(tokens.layout)
    if tokens.ids is not None:
        assert tokens.ids.dtype == torch.int64
        assert tokens.ids.min() >= 0
        assert torch.all(tokens.ids.reshape(-1, len(tokens.codebook)) < torch.tensor(tokens.codebook))


def test_other_sizes_are_padded(model: Tokenizer) -> None:
    if model.image_size is not None:
        with pytest.raises(UsageError, match="resize"):
            model.encode(torch.zeros(1, 3, model.image_size + 1, model.image_size))
        return
    height, width = 2 * model.stride + 1, 3 * model.stride - 1
    tokens = model.encode(torch.zeros(1, 3, height, width))
    assert tokens.layout[-1] == (3, 3)
    assert model.decode(tokens).shape == (1, 3, 3 * model.stride, 3 * model.stride)


def test_encoding_and_decoding_are_deterministic(model: Tokenizer) -> None:
    x = pixels(model)
    tokens = model.encode(x)
    assert equal(tokens, model.encode(x))
    assert torch.equal(model.decode(tokens, seed=1), model.decode(tokens, seed=1))


def test_a_sample_does_not_depend_on_its_batch(model: Tokenizer) -> None:
    x = pixels(model, batch=3)
    tokens = model.encode(x)
    assert equal(tokens[1], model.encode(x[1:2]))
    torch.testing.assert_close(model.decode(tokens)[1:2], model.decode(tokens[1]), rtol=0, atol=1e-4)


def test_a_saved_model_comes_back(model: Tokenizer, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = zellige.load(tmp_path, quiet=True)
    assert (again.name, again.config) == (model.name, model.config)
    assert again.fingerprint() == model.fingerprint()
    assert equal(again.encode(pixels(model)), model.encode(pixels(model)))


def test_ids_do_not_depend_on_autocast(model: Tokenizer) -> None:
    if not model.codebook:
        pytest.skip("continuous tokens have no ids")
    z = model.quantizer.lookup(model.encode(pixels(model)).data)
    z = z + torch.randn(z.shape, generator=torch.Generator().manual_seed(0)) * z.std()
    with torch.no_grad():
        expected = model.quantizer.encode(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(model.quantizer.encode(z), expected)
            assert torch.equal(model.quantizer(z).ids, expected)


def test_training_returns_what_decoding_gives(model: Tokenizer) -> None:
    x = pixels(model)
    with torch.no_grad():
        out = model(x)
    assert equal(out.tokens, model.encode(x))
    assert out.latents.shape == (*out.quantized.shape[:-1], model.quantizer.input_dim)
    torch.testing.assert_close(out.output.clamp(-1, 1), model.decode(out.tokens), rtol=0, atol=1e-4)


def test_gradient_reaches_every_parameter(trained: Tokenizer) -> None:
    model = copy.deepcopy(trained).train()
    out = model(pixels(model))
    sum(out.losses.values(), F.mse_loss(out.output, pixels(model, seed=1))).backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.last_layer().grad is not None


def test_it_overfits_one_batch(trained: Tokenizer) -> None:
    model = copy.deepcopy(trained).train()
    x = pixels(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    errors = []
    for _ in range(30):
        out = model(x)
        error = F.mse_loss(out.output, x)
        optimizer.zero_grad()
        sum(out.losses.values(), error).backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]
