"""Codes of a frozen tokenizer that another learns to tell from its own tokens (TiTok's first stage, arXiv 2406.07550).

Legend: B samples, K codes of the teacher, N = h·w its tokens, S pixels a side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.contract import Tokenizer
from zellige.core.hub import load
from zellige.train.recipe import Teacher


class TeacherCodes(nn.Module):
    """The cross-entropy of scores and the teacher's codes."""

    def __init__(self, teacher: Tokenizer) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Ids (B, N) of images (B, 3, S, S) in [-1, 1], in float32: half precision flips near ties."""
        with torch.autocast(x.device.type, enabled=False):
            return self.teacher.encode(x.float()).data

    def forward(self, scores: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean nats of scores (B, K, h, w) for the codes of images (B, 3, S, S), and the share that is told right."""
        codes, scores = self.codes(x), scores.float().flatten(2)
        right = scores.detach().argmax(1) == codes
        return F.cross_entropy(scores, codes), right.float().mean()


def make_teacher(settings: Teacher, tokenizer: Tokenizer) -> TeacherCodes | None:
    """The teacher of a recipe, whose decoder `tokenizer` takes over; None if the recipe has none.

    Raises `UsageError` for a teacher whose codes `tokenizer` does not predict.
    """
    if settings.tokenizer is None:
        return None
    teacher = load(settings.tokenizer, kind=Tokenizer)  # type: ignore[type-abstract]
    tokenizer.follow(teacher)
    return TeacherCodes(teacher)
