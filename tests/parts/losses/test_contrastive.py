from __future__ import annotations

import math

import pytest
import torch

from zellige.losses.contrastive import contrastive_loss

EYE = torch.eye(3, dtype=torch.float64)


def test_orthogonal_pairs_by_hand() -> None:
    by_hand = math.log(math.exp(2) + 2) - 2
    assert float(contrastive_loss(EYE, EYE, scale=2.0, normalize=False)) == pytest.approx(by_hand)
    assert float(contrastive_loss(5 * EYE, 7 * EYE, scale=2.0)) == pytest.approx(by_hand)


def test_it_is_symmetric_and_prefers_matched_rows() -> None:
    a, b = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(contrastive_loss(a, b)) == pytest.approx(float(contrastive_loss(b, a)))
    assert contrastive_loss(a, a, scale=10.0) < contrastive_loss(a, a.roll(1, 0), scale=10.0)
