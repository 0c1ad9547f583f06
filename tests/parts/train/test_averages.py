"""Averaged codes: one that was replaced begins anew."""

from __future__ import annotations

import torch

from zellige.quantize.vq import VectorQuantizer
from zellige.train.optim import copy_statistics, restart_replaced, restore_statistics, update_average


def revived() -> tuple[VectorQuantizer, dict[str, torch.Tensor], torch.Tensor]:
    """A quantizer of which one step has replaced the first three codes, its average before that, and its codes."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, codes=8, revive_below=0.5).train()
    average = {key: value.detach().clone() for key, value in quantizer.state_dict().items()}
    before = quantizer.embedding.weight.detach().clone()
    quantizer.embedding.uses[:3] = 0.0
    quantizer(torch.randn(2, 5, 4) + 10)
    return quantizer, average, before


def test_replaced_codes_begin_a_new_average_and_others_go_on() -> None:
    quantizer, average, before = revived()
    update_average(average, quantizer.state_dict(), 0.9, 10_000)
    restart_replaced(average, quantizer)
    codes = average["embedding.weight"]
    assert torch.equal(codes[:3], quantizer.embedding.weight[:3])
    torch.testing.assert_close(codes[3:], 0.9 * before[3:] + 0.1 * quantizer.embedding.weight[3:])
    average["embedding.weight"].zero_()
    restart_replaced(average, quantizer)  # once
    assert not codes.any()


def test_a_step_that_is_undone_replaces_nothing() -> None:
    quantizer, average, _ = revived()
    statistics = copy_statistics(quantizer)
    quantizer.embedding.uses.zero_()
    quantizer(torch.full((2, 5, 4), 20.0))
    restore_statistics(quantizer, statistics)
    average["embedding.weight"].zero_()
    restart_replaced(average, quantizer)
    assert not average["embedding.weight"].any()
