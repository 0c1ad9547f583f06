"""Joint attention of image and text: what reads what, and what stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zellige.nn.attention import Attention
from zellige.nn.joint import JointBlock, JointTransformer


def scattered(module: torch.nn.Module) -> None:
    """Weights off their start, where modulations are zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(shape, generator=generator) for shape in ((2, 4, 16), (2, 5, 16), (2, 16)))  # type: ignore[return-value]


def test_it_starts_as_the_identity(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    x, text, condition = inputs
    assert torch.equal(JointTransformer(16, 3, 2, 32)(x, text, condition), x)


@torch.no_grad()
def test_two_streams_of_the_same_weights_are_one_sequence(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    x, text, condition = inputs
    block = JointBlock(16, 2, 32)
    scattered(block)
    assert block.text is not None
    block.text.load_state_dict(block.image.state_dict())
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block.image.modulation(condition)
    both = torch.cat([text, x], dim=1)
    attention = block.image.attention
    assert isinstance(attention, Attention)
    both = both + gate * attention(block.image.norm1(both) * (1 + scale) + shift)
    both = both + mlp_gate * block.image.mlp(block.image.norm2(both) * (1 + mlp_scale) + mlp_shift)
    new_x, new_text = block(x, text, condition, None)
    torch.testing.assert_close(torch.cat([new_text, new_x], dim=1), both)


@torch.no_grad()
def test_the_last_block_leaves_the_text_and_reads_it(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    x, text, condition = inputs
    block = JointBlock(16, 2, 32, last=True)
    scattered(block)
    new, same = block(x, text, condition, None)
    assert same is text
    assert not torch.allclose(block(x, text.flip(0), condition, None)[0], new)
    torch.testing.assert_close(block(x, text.flip(1), condition, None)[0], new)  # texts have no order of their own


@torch.no_grad()
def test_what_the_mask_hides_has_no_influence(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    x, text, condition = inputs
    trunk = JointTransformer(16, 3, 2, 32)
    scattered(trunk)
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    masked = trunk(x, text, condition, mask)
    torch.testing.assert_close(masked[:1], trunk(x[:1], text[:1, :3], condition[:1]))
    torch.testing.assert_close(masked[1:], trunk(x[1:], text[1:], condition[1:]))
