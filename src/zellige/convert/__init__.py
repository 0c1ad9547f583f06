"""Checkpoints as their authors published them, as our models.

One adapter a family (`Adapter`) knows the official names; they go no further than this package.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from zellige.core.errors import UsageError

if TYPE_CHECKING:
    from zellige.convert.adapter import Adapter, State
    from zellige.core.contract import Model

__all__ = ["find_adapter", "identify", "load_official"]


def load_official(path: str | Path, preset: str | None = None) -> Model:
    """A model, in evaluation mode, from an official checkpoint file of any family known here.

    Args:
        path: ``.safetensors``, or a torch file, which is read without executing anything in it.
        preset: ``system`` or ``system/preset`` that the file should be; None takes what it is.

    Raises:
        UsageError: no such file, a file of no known family, or of another one than `preset`.
        DataError: a damaged or incomplete file; the line names up to three keys.
    """
    from zellige.convert.checkpoint import read_checkpoint

    state = read_checkpoint(path)
    model = find_adapter(state, str(path)).build(state, str(path))
    known = _presets(model, Path(path).name)
    if preset is not None and preset not in (model.system, *known):
        raise UsageError(f"{path} is {next(iter(known), f'another {model.system}')}, not {preset}")
    model.name = preset if preset is not None and preset in known else next(iter(known), model.system)
    model.licence = known.get(model.name, "")
    return model


def identify(path: str | Path) -> str:
    """Which system a checkpoint file is of: its slug.

    Raises `UsageError` if it is of no family known here, `DataError` if it is damaged.
    """
    from zellige.convert.checkpoint import read_checkpoint

    return find_adapter(read_checkpoint(path), str(path)).system


def find_adapter(state: State, source: str = "this state dict") -> Adapter:
    """The adapter whose family a state dict is of, by its keys."""
    for adapter in _adapters():
        if adapter.matches(state):
            return adapter
    families = ", ".join(sorted({adapter.system for adapter in _adapters()}))
    raise UsageError(
        f"{source} is no checkpoint of a family known here ({families}); its first key is {next(iter(state))}"
    )


@cache
def _adapters() -> tuple[Adapter, ...]:
    from zellige.convert.llamagen_vq import LlamaGenVQAdapter
    from zellige.convert.maskgit_vqgan import MAGEVQGANAdapter, MaskGITVQGANAdapter

    return (LlamaGenVQAdapter(), MaskGITVQGANAdapter(), MAGEVQGANAdapter())


def _presets(model: Model, file: str) -> dict[str, str]:
    """Presets with the configuration of `model`, to the licence of their weights; those of a like-named file first."""
    import torch

    from zellige.core.registry import card

    found = card(model.system)
    with torch.device("meta"):  # the configurations alone are of interest
        same = [p for p in found.presets.values() if type(model).from_config(p.config).config == model.config]
    same.sort(key=lambda preset: preset.weights is None or preset.weights.file != file)
    return {f"{found.name}/{p.name}": p.weights.licence if p.weights else "" for p in same}
