"""A linear layer gives what torch's gives, whatever way its product goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zellige.nn.linear import FEW, SHORT, Linear


def pair(channels: int, out: int, bias: bool) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, theirs = Linear(channels, out, bias=bias), nn.Linear(channels, out, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [8, 16, 40])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 1), (FEW, 1), (2, 2), (FEW + 1, 1), (3, 7), (0, 1)])
def test_any_shape(shape: tuple[int, ...], out: int, bias: bool) -> None:
    ours, theirs = pair(16, out, bias)
    x = torch.randn(*shape, 16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours(x.transpose(0, -2)), theirs(x.transpose(0, -2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, FEW])
def test_gradients(rows: int) -> None:
    ours, theirs = pair(16, 32, True)
    x = torch.randn(rows, 16)
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-5)


def test_long_inputs_are_left_to_torch() -> None:
    ours, theirs = pair(SHORT // 2 + 8, 8, False)
    x = torch.randn(2, SHORT // 2 + 8)
    assert torch.equal(ours(x), theirs(x))


def test_other_types_are_left_to_torch() -> None:
    ours, theirs = pair(16, 32, True)
    x = torch.randn(2, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
        assert ours(x).dtype == torch.bfloat16
    assert torch.equal(ours.bfloat16()(x.bfloat16()), theirs.bfloat16()(x.bfloat16()))
    assert ours.to("meta")(x.to("meta")).shape == (2, 32)
