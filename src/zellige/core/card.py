"""`Card`: what is known of a system without importing it.

A card is a TOML file beside the system's module (`systems/<slug>.toml`), so that `zellige list`,
the docs and the web page can read all of them in milliseconds and without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Weights:
    """Where trained weights of a preset are, and under which terms.

    Attributes:
        source: ``bundled`` (in the wheel) or ``hf:owner/name`` (Hugging Face Hub).
        file: the file there.
        licence: terms of the weights, as their publisher states them.
        sha256: digest of the file where known, else empty.
    """

    source: str
    file: str
    licence: str
    sha256: str = ""


@dataclass(frozen=True)
class Preset:
    """One configuration of a system: constructor arguments, and what they give.

    Attributes:
        config: fields of the system's config dataclass.
        parameters: trainable and frozen parameters of the built model (checked on ``meta``).
        tokens: tokens of a sample, in words: ``16×16 of 16,384``.
        weights: trained weights, None if there are none.
    """

    name: str
    config: Mapping[str, Any]
    parameters: int
    tokens: str
    weights: Weights | None = None


@dataclass(frozen=True)
class Card:
    """Title, origin and state of one system.

    Attributes:
        name: the slug by which everything is called, ``llamagen-vq``.
        title: its name in the literature.
        kind: ``base`` or the kind given in the table of systems.
        paper: title of the paper; ``arxiv`` its id, ``year`` its year.
        status: ``available`` or ``planned``.
        tokens: what a token of it is, in a few words.
        parts: modules of the library that it is composed of, ``quantize/vq``.
        licence: licence of the original code or of the idea's reference; ours is Apache-2.0.
        differs: what differs from the original, in one sentence a point.
        missing: what is still to be done of it, a few words a point.
        entry: ``module:Class`` of an available system.
        presets: by name; the first one is the default.
    """

    name: str
    title: str
    kind: str
    paper: str
    arxiv: str = ""
    year: int = 0
    status: str = "planned"
    tokens: str = ""
    parts: tuple[str, ...] = ()
    licence: str = ""
    differs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    entry: str = ""
    presets: Mapping[str, Preset] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any]) -> Card:
        """A card from its TOML table; preset tables become `Preset`s."""
        fields = dict(data)
        presets = {}
        for key, value in fields.pop("presets", {}).items():
            weights = value.get("weights")
            presets[key] = Preset(
                name=key,
                config=value.get("config", {}),
                parameters=int(value["parameters"]),
                tokens=value["tokens"],
                weights=Weights(**weights) if weights else None,
            )
        lists: dict[str, Any] = {key: tuple(fields.pop(key, ())) for key in ("parts", "differs", "missing")}
        return cls(name=name, presets=presets, **lists, **fields)

    def preset(self, name: str | None = None) -> Preset:
        """The preset `name`, or the default one."""
        from zellige.core.errors import UsageError, nearest

        if not self.presets:
            raise UsageError(f"'{self.name}' is {self.status} and has no presets yet; see: zellige list")
        if name is None:
            return next(iter(self.presets.values()))
        if name not in self.presets:
            raise nearest(name, list(self.presets), f"preset of {self.name}")
        return self.presets[name]
