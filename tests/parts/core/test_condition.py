from __future__ import annotations

import pytest
import torch

from zellige.core.condition import TextFeatures, class_labels
from zellige.core.errors import UsageError


def test_labels_of_all_forms() -> None:
    for condition in (3, [3], (3,), torch.tensor(3), torch.tensor([3], dtype=torch.int32)):
        labels = class_labels(condition, 4, "it")
        assert labels.dtype == torch.int64
        assert labels.tolist() == [3]


@pytest.mark.parametrize(
    ("condition", "classes", "message"),
    [
        (4, 4, "classes 0 to 3; there is no class 4"),
        ([0, -1], 4, "no class -1"),
        (torch.ones(1), 4, "classes are integers"),
        ([[1]], 4, "classes are integers"),
        ("a cat", 4, "no text"),
        (["a cat"], 4, "takes classes from 0 to 3"),
        (TextFeatures(torch.zeros(1, 2, 3)), 4, "no text"),
        (0, 0, "without classes"),
    ],
)
def test_what_is_no_class(condition: object, classes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        class_labels(condition, classes, "it")  # type: ignore[arg-type]


def test_text_features_have_one_shape() -> None:
    assert len(TextFeatures(torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)).to("cpu")) == 2
    given = TextFeatures(torch.zeros(2, 5, 3), pooled=torch.zeros(2, 4), scores=torch.tensor([1.0, 2.0]))
    first = given.each(lambda part: part[:1])
    assert (len(first), first.mask) == (1, None)
    assert first.pooled is not None
    assert first.scores is not None
    assert (first.pooled.shape, first.scores.tolist()) == ((1, 4), [1.0])
    with pytest.raises(UsageError, match=r"pooled text features are \(B, P\)"):
        TextFeatures(torch.zeros(2, 5, 3), pooled=torch.zeros(1, 3))
    with pytest.raises(UsageError, match=r"scores are \(B,\)"):
        TextFeatures(torch.zeros(2, 5, 3), scores=torch.zeros(2, 1))
    with pytest.raises(UsageError, match=r"\(B, T, F\)"):
        TextFeatures(torch.zeros(2, 5))
    with pytest.raises(UsageError, match="mask"):
        TextFeatures(torch.zeros(2, 5, 3), torch.ones(2, 4))
