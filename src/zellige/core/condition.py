"""What a generator is told to make: class labels, or the features of a text.

Legend: B samples, T text tokens, F channels of the text features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zellige.core.errors import UsageError, nearest


@dataclass(frozen=True)
class TextReading:
    """Which of the features of a text encoder a generator reads.

    Attributes:
        skipped: last layers whose work is left out: the features are then hidden states before the final norm.
        joint: the pooled vector lies in the space that the encoder shares with images, where it has one.
        length: T of every text, its padding read like words, as CLIP does; 0 hides padding and has no more of it than
            the longest text of a batch needs.
    """

    skipped: int = 0
    joint: bool = False
    length: int = 0


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Texts as an encoder of texts sees them.

    Attributes:
        features: float (B, T, F).
        mask: bool (B, T), true where there is text and no padding; None where there is no padding.
        pooled: float (B, P), a vector of each whole text, for generators that read one (`Generator.pooled`).
        scores: float (B,), how pleasing each image is to be, from 1 to 10 as predictors of aesthetics count; None
            for what the generator was set to. Generators that were not trained with scores ignore them.
        last: float (B, T, F), what the encoder's last layer made of the texts, for decoders that read them; None
            where these are the features themselves, or unknown.
    """

    features: Tensor
    mask: Tensor | None = None
    pooled: Tensor | None = None
    scores: Tensor | None = None
    last: Tensor | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 3:
            raise UsageError(f"text features are (B, T, F); got {tuple(self.features.shape)}")
        if self.mask is not None and self.mask.shape != self.features.shape[:2]:
            raise UsageError(f"a text mask is (B, T); got {tuple(self.mask.shape)} for {tuple(self.features.shape)}")
        if self.pooled is not None and (self.pooled.ndim != 2 or len(self.pooled) != len(self)):
            raise UsageError(f"pooled text features are (B, P); got {tuple(self.pooled.shape)} for {len(self)} texts")
        if self.scores is not None and self.scores.shape != (len(self),):
            raise UsageError(f"scores are (B,); got {tuple(self.scores.shape)} for {len(self)} texts")

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device | str) -> TextFeatures:
        """The same features on another device."""
        return self.each(lambda part: part.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> TextFeatures:
        """The same function of each tensor that is there, such as a selection of texts."""
        others = (self.mask, self.pooled, self.scores, self.last)
        return TextFeatures(change(self.features), *(None if part is None else change(part) for part in others))


Condition = int | Sequence[int] | Tensor | TextFeatures | None
"""Class labels from 0 up, (B,), or one for all samples; text features; None for no condition."""


def class_labels(condition: Condition, classes: int, name: str) -> Tensor:
    """Labels int64 (B,) below `classes`; `UsageError` for anything else, in the name of the model `name`."""
    if isinstance(condition, (TextFeatures, str)):
        raise UsageError(f"{name} takes a class from 0 to {classes - 1}, no text")
    if condition is None or classes == 0:
        raise UsageError(f"{name} was made without classes; sample it without a condition")
    try:
        labels = torch.as_tensor(condition)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{name} takes classes from 0 to {classes - 1}; got {condition!r}") from None
    if labels.is_floating_point() or labels.is_complex() or labels.ndim > 1:
        raise UsageError(f"classes are integers (B,); got {labels.dtype} {tuple(labels.shape)}")
    labels = labels.reshape(-1).long()
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise UsageError(f"{name} has the classes 0 to {classes - 1}; there is no class {int(outside[0])}")
    return labels


def classes_called(name: str, classes: int, names: Sequence[str], model: str) -> list[int]:
    """Labels that a person means by a number or a name.

    Names may be paths: ``Animals/bird`` is also called ``bird``, and ``Animals`` is all that lie in it.

    Args:
        name: what was asked for; upper and lower case are alike.
        classes: how many labels there are.
        names: of the labels 0, 1, …; empty where they have none.
        model: what errors call the model.
    """
    if name.strip().lstrip("-").isdecimal():
        return class_labels(int(name), classes, model).tolist()
    if not names:
        raise UsageError(f"the classes of {model} have numbers, 0 to {classes - 1}, and no names")
    wanted, paths = name.strip().lower(), [known.lower() for known in names]
    for fits in (
        lambda path: path == wanted,
        lambda path: path.startswith(wanted + "/"),
        lambda path: path.endswith("/" + wanted),
    ):
        if found := [label for label, path in enumerate(paths) if fits(path)]:
            return found
    ways = {part for path in names for part in (path, *path.split("/"))}
    raise nearest(name, sorted(ways), f"class of {model}")
