"""`Protocol` and `Measurement`: a number, and everything one must know to compare it.

The same reconstruction has an SSIM of .81, .83 or .90 by the conventions found in the literature.
So no number travels alone: a metric gives `Measurement`s, and `column` refuses to line up two
that were not measured alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from zellige.core.errors import ZelligeError


@dataclass(frozen=True)
class Protocol:
    """How a number was measured. Two numbers compare if all of these are equal.

    Attributes:
        metric: its name as it is printed, ``PSNR``.
        variant: which of its definitions: ``pooled``, ``alex``, ``group 1 of 2``; empty for the default.
        definition: the formula or the convention, in a few words.
        unit: ``dB``, ``bits``, …; empty for pure numbers.
        data_range: range of the values it was computed on, ``[0, 1]``.
        rounding: ``uint8`` (rounded to nearest, as a saved file) or ``float`` (as decoded).
        resize: crop and resize before measuring, or ``native size``.
        reference: the set of images or tokens measured on.
        samples: how many of them.
        network: feature network, for metrics that have one; `network_hash` of its weights.
        conditions: what else the number depends on: hardware, precision, batch size.
    """

    metric: str
    variant: str = ""
    definition: str = ""
    unit: str = ""
    data_range: str = ""
    rounding: str = ""
    resize: str = ""
    reference: str = ""
    samples: int = 0
    network: str = ""
    network_hash: str = ""
    conditions: str = ""

    @property
    def title(self) -> str:
        """Metric and variant, for people: ``PSNR, pooled``."""
        return f"{self.metric}, {self.variant}" if self.variant else self.metric

    @property
    def key(self) -> str:
        """Metric and variant, for files: ``psnr/pooled``."""
        parts = (self.metric, self.variant) if self.variant else (self.metric,)
        return "/".join(re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_") for part in parts)

    def describe(self) -> str:
        """All that is set, in one line."""
        known = {name: value for name, value in asdict(self).items() if value and name not in ("metric", "unit")}
        return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in known.items())


@dataclass(frozen=True)
class Measurement:
    """One number and its protocol.

    Attributes:
        value: in `protocol.unit`.
        spread: standard deviation over the samples; None where a metric has a value a set only.
    """

    value: float
    protocol: Protocol
    spread: float | None = None

    def on(self, **protocol: Any) -> Measurement:
        """The same number with more of its protocol known: ``m.on(reference="kodak")``."""
        return replace(self, protocol=replace(self.protocol, **protocol))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready."""
        return {"key": self.protocol.key, "value": self.value, "spread": self.spread, "protocol": asdict(self.protocol)}


def column(measurements: Sequence[Measurement]) -> list[float]:
    """The values of measurements that may stand in one column of a table.

    Raises `ZelligeError` that names the first difference if two were not measured alike.
    """
    for other in measurements[1:]:
        first = measurements[0].protocol
        for field in fields(Protocol):
            ours, theirs = getattr(first, field.name), getattr(other.protocol, field.name)
            if ours != theirs:
                raise ZelligeError(
                    f"{first.title} and {other.protocol.title} cannot stand in one column: "
                    f"{field.name.replace('_', ' ')} is '{ours}' in one and '{theirs}' in the other"
                )
    return [m.value for m in measurements]
