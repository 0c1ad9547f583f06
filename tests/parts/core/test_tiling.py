"""Tiling: a tile of an image gives what the whole image gives."""

from __future__ import annotations

import pytest
import torch

from zellige.core.contract import Tokenizer
from zellige.core.registry import build
from zellige.core.tiling import decode_tokens, encode_image

TINY = {"channels": 16, "blocks": 1, "decoder_blocks": 1}


@pytest.fixture(scope="module")
def local() -> Tokenizer:
    torch.manual_seed(0)
    return build("zellige-photo", **TINY).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, 420, 333, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_receptive_field_bounds_what_an_encoded_cell_sees(local: Tokenizer) -> None:
    """Changing pixels beyond the stated field changes nothing; changing a pixel inside does."""
    x = torch.zeros(1, 3, 240, 240)
    field = local.receptive_field[0]
    stride, cell = local.stride, 15
    far = x.clone()
    far[..., : cell * stride - field] = 1
    near = x.clone()
    near[..., cell * stride - 8 : cell * stride] = 1
    with torch.no_grad():
        base, a, b = (local.latents(v)[..., cell] for v in (x, far, near))
    assert torch.allclose(base[..., 15], a[..., 15], atol=1e-6)
    assert not torch.allclose(base[..., 15], b[..., 15], atol=1e-4)


def test_tiled_tokens_are_those_of_the_whole_image(local: Tokenizer, image: torch.Tensor) -> None:
    whole = local.encode(image)
    tiled = encode_image(local, image, tile=128, whole=1)
    assert tiled.layout == whole.layout
    assert (tiled.ids == whole.ids).float().mean() > 0.999  # kernels may round a tie differently by shape


def test_tiled_pixels_have_no_seam(local: Tokenizer, image: torch.Tensor) -> None:
    tokens = local.encode(image)
    whole, tiled = local.decode(tokens), decode_tokens(local, tokens, tile=128, whole=1)
    assert torch.allclose(whole, tiled, atol=1e-5)


def test_global_tokenizers_are_blended(image: torch.Tensor) -> None:
    """Group norm sees the whole image: tiles differ a little, but their borders must not show."""
    torch.manual_seed(0)
    model = build("vqgan/f8", channels=32, multipliers=(1, 1, 1, 1), blocks=1, decoder_blocks=1, attention=False).eval()
    tokens = encode_image(model, image, tile=256, whole=1)
    assert tokens.layout == model.encode(image).layout
    pixels = decode_tokens(model, tokens, tile=256, whole=1)
    assert pixels.shape == (1, 3, 424, 336)
    difference = (pixels - model.decode(tokens))[..., :100, :]  # above the second row of tiles
    assert difference[..., 192:].abs().mean() > 0.01  # the second tile has other statistics …
    jumps = difference.diff(dim=-1).abs().mean(dim=(0, 1, 2))
    assert jumps[124:200].max() < 0.1 * jumps[256:].mean()  # … but comes in gradually, from column 192 to 320


def test_small_images_run_whole(local: Tokenizer) -> None:
    x = torch.zeros(1, 3, 9, 17)
    assert encode_image(local, x).layout == ((2, 3),)
    assert decode_tokens(local, encode_image(local, x)).shape == (1, 3, 16, 24)
