from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.core.noise import Noise
from zellige.generate.ar import next_tokens
from zellige.generate.guidance import Guidance
from zellige.generate.sampling import Sampler, draw, keep_top_k, keep_top_p


def kept(logits: Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def test_filters_keep_the_likeliest() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]]).log()
    assert kept(keep_top_k(logits, 2)) == [[1, 3], [0, 1]]
    assert kept(keep_top_k(logits, 0)) == kept(keep_top_k(logits, 9)) == [[0, 1, 2, 3]] * 2
    assert kept(keep_top_p(logits, 0.5)) == [[1, 3], [0, 1]]  # the one that crosses is kept
    assert kept(keep_top_p(logits, 1e-6)) == [[1], [0]]
    assert keep_top_p(logits, 1.0) is logits


def test_draws_follow_the_distribution() -> None:
    p = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0])
    ids = draw(p.log().expand(1, 20000, 5), Noise([3]))
    counts = torch.bincount(ids.flatten(), minlength=5) / 20000
    torch.testing.assert_close(counts, p, rtol=0, atol=0.015)
    assert counts[1] == counts[4] == 0


def test_a_draw_does_not_depend_on_the_batch() -> None:
    logits = torch.randn(3, 4, 50, generator=torch.Generator().manual_seed(0))
    together = Sampler(0.9, 20, 0.9)(logits, Noise([1, 2, 3]))
    assert together.shape == (3, 4)
    assert torch.equal(Sampler(0.9, 20, 0.9)(logits[1:2], Noise([2])), together[1:2])


def test_temperature_zero_is_the_likeliest_and_draws_nothing() -> None:
    logits = torch.randn(2, 9)
    assert torch.equal(Sampler(0)(logits, Noise([0, 0])), logits.argmax(-1))
    cold = Sampler(1e-4)(logits, Noise([0, 0]))
    assert torch.equal(cold, logits.argmax(-1))


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}])
def test_wrong_settings_are_refused(settings: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Sampler(**settings)


def test_the_loop_feeds_back_what_it_chose_to_both_halves() -> None:
    seen: list[tuple[int, Tensor | None]] = []

    def predict(previous: Tensor | None, position: int) -> Tensor:
        seen.append((position, previous))
        return torch.eye(5)[[position, position, 4, 4]]

    ids = next_tokens(predict, 3, Guidance(2), Sampler(0), Noise([0, 1]))
    assert ids.tolist() == [[0, 1, 2]] * 2
    assert seen[0][1] is None
    assert [(p, x.tolist()) for p, x in seen[1:] if x is not None] == [(1, [0] * 4), (2, [1] * 4)]


def test_several_codes_at_a_position() -> None:
    ids = next_tokens(lambda previous, position: torch.zeros(1, 4, 7), 3, Guidance(), Sampler(), Noise([0]))
    assert ids.shape == (1, 3, 4)
