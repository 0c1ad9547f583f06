"""Weights: where they are found, and how they are kept.

A saved model is one `model.safetensors` whose header holds the system and its configuration, so a
file says by itself what it is. Nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

from zellige.core.card import Weights
from zellige.core.contract import Model
from zellige.core.errors import DataError, UsageError, ZelligeError, nearest, reason
from zellige.core.files import replacing
from zellige.core.generator import Generator
from zellige.core.registry import cards, resolve, system_class
from zellige.core.tensors import check_state, read_metadata, read_tensors, write_tensors

WEIGHTS = "model.safetensors"
HEADER = "zellige"
PROBE_SECONDS = 10.0
"""How long the Hub may take to say that it has a file."""


def bundled() -> list[str]:
    """Names of the models in the wheel; a tokenizer in the folder of its generator is ``zellige-emoji/tokenizer``."""
    folder = _bundled_folder()
    return sorted(p.parent.relative_to(folder).as_posix() for p in folder.glob(f"**/{WEIGHTS}"))


M = TypeVar("M", bound=Model)


@overload
def load(name: str | Path, *, device: str | torch.device = "cpu", quiet: bool = False) -> Model: ...


@overload
def load(name: str | Path, *, kind: type[M], device: str | torch.device = "cpu", quiet: bool = False) -> M: ...


def load(
    name: str | Path, *, kind: type[Model] = Model, device: str | torch.device = "cpu", quiet: bool = False
) -> Model:
    """A trained model, ready to use: in the wheel, in a local folder or file, or on the Hub.

    Args:
        name: a bundled name (``zellige-photo``); a folder or file saved by `save_pretrained`, or an
            official checkpoint; ``system/preset`` whose weights are published; a Hub id
            (``owner/name`` or ``hf:owner/name``).
        kind: `zellige.Tokenizer` or `zellige.Generator`, if it must be one.
        quiet: do not show the licence of the weights on standard error.

    Raises:
        UsageError: nothing of this name is known, with the nearest names; or it is of another kind.
        DataError: the file is damaged, or holds another architecture.
    """
    model = _find(str(name), kind)
    if not isinstance(model, kind):
        what = "generator" if isinstance(model, Generator) else "tokenizer"
        raise UsageError(f"'{name}' is the {what} {model.name}, no {_word(kind)}; see what there is: zellige list")
    if model.licence and not quiet:
        print(f"zellige: weights of {model.name}: {model.licence}", file=sys.stderr)
    return model.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def folder_of(name: str) -> Path:
    """The folder that a bundled model, or one on this machine, lies in; others have none, and the path is not there."""
    if name in bundled():
        return _bundled_folder() / name
    path = Path(name).expanduser()
    return path.parent if path.is_file() else path


def _bundled_folder() -> Path:
    return Path(str(resources.files("zellige") / "bundled"))


def _find(name: str, kind: type[Model] = Model) -> Model:
    system, _, preset = name.partition("/")
    if name in bundled():
        found = read_model(_bundled_folder() / name / WEIGHTS)
        found.licence = found.licence or "Apache-2.0"
        return found
    if system in bundled() and (not preset or _is_bundled(system, preset)):
        return _find(system)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise UsageError(f"folder '{name}' holds no {WEIGHTS}; save a model there with save_pretrained")
        return read_model(path / WEIGHTS)
    if path.is_file():
        return read_model(path)
    if system in cards():
        return _published(name)
    if name.startswith("hf:"):
        return read_model(_download(name.removeprefix("hf:"), WEIGHTS))
    if preset and "/" not in preset and not name.startswith((".", "/", "~")):
        try:
            weights = _download(name, WEIGHTS)
        except ZelligeError as error:
            raise type(error)(f"'{name}' is no file or folder here, and {error}") from None
        return read_model(weights)
    if preset:
        raise UsageError(f"no model at '{name}': it is no bundled name, file, folder or Hub id")
    raise nearest(name, _known(kind), _word(kind))


def _known(kind: type[Model]) -> list[str]:
    """Names of a kind: of what lies in the wheel, and of the systems that are available."""
    inside = {n: str((model_header(_bundled_folder() / n / WEIGHTS) or {}).get("system")) for n in bundled()}
    systems = {n: n for n, c in cards().items() if c.status == "available"}
    return sorted(n for n, system in {**inside, **systems}.items() if issubclass(system_class(system), kind))


def _word(kind: type[Model]) -> str:
    """What errors call a kind: model, tokenizer or generator."""
    return kind.__name__.lower()


def _is_bundled(system: str, preset: str) -> bool:
    """Whether the weights in the wheel are those of `preset`: a system may have others, without weights."""
    known = cards()[system].presets.get(preset)
    return known is not None and known.weights is not None and known.weights.source == "bundled"


def _published(name: str) -> Model:
    """Weights that a card points to, converted from their official layout."""
    card, preset = resolve(name)
    if preset.weights is None:
        raise UsageError(
            f"no weights are published for '{name}'; train it, or build it with fresh weights: zellige.build('{name}')"
        )
    source: Weights = preset.weights
    try:
        path = _download(source.source.removeprefix("hf:"), source.file)
    except ZelligeError as error:
        raise type(error)(f"{error}. Or pass the path of {source.file} ({source.licence}) once you have it") from None
    from zellige.convert import load_official

    model = load_official(path, preset=f"{card.name}/{preset.name}")
    model.licence = source.licence
    return model


def _download(repo: str, file: str) -> Path:
    """A file of a Hub repository: from the cache as it is, else from the network.

    The Hub's client would try for half a minute before it says that there is no network, so one short
    request comes first.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    what = f"cannot get {file} of hf:{repo}"
    try:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repo, file, local_files_only=True))
        get_hf_file_metadata(hf_hub_url(repo, file), timeout=PROBE_SECONDS)
        return Path(hf_hub_download(repo, file))
    except ValueError as error:  # a malformed repository id
        raise UsageError(f"'{repo}' is no Hub id: {error}") from None
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        if not isinstance(error, LocalEntryNotFoundError):
            raise UsageError(f"{what}: it is not there, or not public") from None
    except Exception as error:  # whatever the client and the network can raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ZelligeError(f"{what}: no space left for the Hub's cache (HF_HOME moves it)") from None
    raise ZelligeError(f"{what}: the Hub cannot be reached and the file is not in the cache")


def read_model(path: Path) -> Model:
    """A model from one of our safetensors files, or from an official checkpoint by `convert`."""
    header = model_header(path) if path.suffix == ".safetensors" else None
    if header is None:
        from zellige.convert import load_official

        return load_official(path)
    try:
        system, config = str(header["system"]), dict(header["config"])
        with torch.device("meta"):  # shapes are compared before anything of the claimed size is allocated
            expected = system_class(system).from_config(config).state_dict()
    except UsageError as error:
        raise DataError(f"'{path}' was saved by another version of zellige: {error}") from None
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise DataError(f"the header of '{path}' describes no model: {error!r}") from None
    state = read_tensors(path)
    check_state(expected, state, str(path))
    model = system_class(system).from_config(config)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    model.name = str(header.get("name", system))
    model.licence = str(header.get("licence", ""))
    return model


def model_header(path: str | Path) -> dict[str, Any] | None:
    """System, configuration, name and licence recorded in a saved model; None for foreign files."""
    text = read_metadata(Path(path)).get(HEADER)
    try:
        header = None if text is None else dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"the header of '{path}' describes no model: {reason(error)}") from None
    return header


def write_model(
    model: Model, path: Path, *, dtype: torch.dtype | None = None, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write weights and header to `path` in one step: a reader sees the old file or the new one.

    Args:
        dtype: of floating-point tensors on disk; None keeps them as they are.
        state: other values for the state dict, such as an average of the weights.
    """
    header = {
        "system": model.system,
        "name": model.name,
        "config": model.config_dict(),
        "licence": model.licence,
        "format": 1,
    }
    tensors = {
        k: v.to(dtype) if dtype is not None and v.is_floating_point() else v
        for k, v in (model.state_dict() if state is None else state).items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZelligeError(f"cannot make the folder {path.parent}: {reason(error)}") from error
    write_tensors(path, tensors, {HEADER: json.dumps(header)})


def save_pretrained(model: Model, folder: str | Path, *, dtype: torch.dtype | None = None, card: str = "") -> Path:
    """Write `model.safetensors` and a `README.md` (the model card) to `folder`; returns the weights' path."""
    folder = Path(folder)
    write_model(model, folder / WEIGHTS, dtype=dtype)
    text = card or _default_card(model)
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(text, "utf-8")
    return folder / WEIGHTS


def _default_card(model: Model) -> str:
    known = cards().get(model.system)
    count = sum(p.numel() for p in model.parameters())
    variable = "generator" if isinstance(model, Generator) else "tokenizer"
    lines = [
        "---",
        "library_name: zellige",
        *([f"license: {model.licence}"] if model.licence else []),
        "---",
        f"# {model.name}",
        "",
        f"{known.title if known else model.system}, {count:,} parameters.",
        *([f"Paper: {known.paper} (arXiv {known.arxiv})."] if known and known.arxiv else []),
        "",
        "```python",
        "import zellige",
        f'{variable} = zellige.load("path or hub id of this folder")',
        "```",
        "",
        "```json",
        json.dumps(model.config_dict(), indent=1),
        "```",
    ]
    return "\n".join(lines) + "\n"


def push_to_hub(model: Model, repo: str, *, private: bool = False) -> str:
    """Create `repo` if needed and upload the saved model to it; returns its address."""
    import tempfile

    from huggingface_hub import HfApi

    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        try:
            address = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=folder)
        except (OSError, ValueError) as error:
            raise ZelligeError(f"cannot upload to '{repo}': {error}") from None
    return str(address)
