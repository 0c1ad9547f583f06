"""Checkpoints as their authors published them, as our models.

One adapter a family (`Adapter`) knows the official names; they go no further than this package.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    state, file = read_checkpoint(path), Path(path).name
    adapter = find_adapter(state, str(path))
    fitting = _fitting_presets(adapter, state, file)
    chosen = fitting.get(preset or "") or next(iter(fitting.values()), {})
    model = adapter.build(state, str(path), **{key: value for key, value in chosen.items() if key in adapter.untold})
    licences = _licences(model.system)
    if preset is not None and preset not in (model.system, *fitting):
        found = next(iter(fitting), f"another {model.system}")
        raise UsageError(f"{path} is {found}, not {preset}{_why_not(adapter, state, preset)}")
    model.name = preset if preset is not None and preset in fitting else next(iter(fitting), model.system)
    model.licence = licences.get(model.name, "")
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
    from zellige.convert.enat import ENATAdapter
    from zellige.convert.flowar import FlowARAdapter
    from zellige.convert.ldm import KLVAEAdapter, VARVQAdapter
    from zellige.convert.llamagen import LlamaGenAdapter
    from zellige.convert.llamagen_vq import LlamaGenVQAdapter
    from zellige.convert.maskgen import MaskGenAdapter
    from zellige.convert.maskgen_kl import MaskGenKLAdapter
    from zellige.convert.maskgit import MaskGITAdapter
    from zellige.convert.maskgit_flax import FlaxMaskGITVQGANAdapter
    from zellige.convert.maskgit_vqgan import MAGEVQGANAdapter, MaskGITVQGANAdapter
    from zellige.convert.rar import RARAdapter
    from zellige.convert.robusttok import RobustTokAdapter
    from zellige.convert.titok import TiTokAdapter
    from zellige.convert.titok_maskgit import TiTokBERTAdapter, TiTokUViTAdapter
    from zellige.convert.var import VARAdapter
    from zellige.convert.xar import XARAdapter

    return (
        LlamaGenVQAdapter(),
        MaskGITVQGANAdapter(),
        MAGEVQGANAdapter(),
        FlaxMaskGITVQGANAdapter(),
        LlamaGenAdapter(),
        RARAdapter(),
        MaskGITAdapter(),
        ENATAdapter(),
        VARAdapter(),
        FlowARAdapter(),
        XARAdapter(),
        VARVQAdapter(),
        KLVAEAdapter(),
        RobustTokAdapter(),
        TiTokAdapter(),
        TiTokBERTAdapter(),
        TiTokUViTAdapter(),
        MaskGenAdapter(),
        MaskGenKLAdapter(),
    )


def _fitting_presets(adapter: Adapter, state: State, file: str) -> dict[str, dict[str, Any]]:
    """Whole configurations of the presets that agree with a state dict, by name; those of a like-named file first."""
    from zellige.core.registry import card, system_class

    try:
        told = adapter.config(state)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):  # `Adapter.build` says what is wrong
        return {}
    found, model_class = card(adapter.system), system_class(adapter.system)
    fitting = {}
    presets = sorted(found.presets.values(), key=lambda preset: preset.weights is None or preset.weights.file != file)
    for preset in presets:
        whole = model_class.make_config(preset.config)
        untold = {key: getattr(whole, key) for key in adapter.untold}
        if model_class.make_config({**told, **untold}) == whole:
            fitting[f"{found.name}/{preset.name}"] = vars(whole)
    return fitting


def _why_not(adapter: Adapter, state: State, preset: str) -> str:
    """Which tensors of an official state dict are not those of a preset of the same system."""
    import torch

    from zellige.core.registry import build

    if preset.partition("/")[0] != adapter.system:
        return ""
    with torch.device("meta"):
        differing = adapter.differences(state, build(preset))
    return f": {differing}" if differing else ""


def _licences(system: str) -> dict[str, str]:
    """The licence of the weights of each preset that has some."""
    from zellige.core.registry import card

    return {f"{system}/{p.name}": p.weights.licence for p in card(system).presets.values() if p.weights}
