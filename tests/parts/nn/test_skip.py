"""The transformer with long skips."""

from __future__ import annotations

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.nn.skip import SkipTransformer
from zellige.nn.transformer import TransformerConfig


def test_the_way_up_sees_what_the_way_down_put_out_last_first() -> None:
    torch.manual_seed(0)
    model, x = SkipTransformer(TransformerConfig(8, 4, 2)), torch.randn(2, 5, 8)
    with torch.no_grad():
        first = model.down[0](x)
        second = model.down[1](first)
        y = model.middle(second)
        y = model.up[0](model.skips[0](torch.cat([y, second], dim=-1)))
        y = model.up[1](model.skips[1](torch.cat([y, first], dim=-1)))
        torch.testing.assert_close(model(x), y)
    assert len(list(model.down) + list(model.up)) == 4


def test_an_odd_number_of_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match="even number of blocks"):
        SkipTransformer(TransformerConfig(8, 3, 2))
