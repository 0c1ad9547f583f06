"""Saving and loading: what is written is what comes back, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file

from zellige.core import hub
from zellige.core.contract import Model, Tokenizer
from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.generator import Generator
from zellige.core.registry import build

TINY = {"channels": 16, "blocks": 1, "decoder_blocks": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    hub.save_pretrained(build("zellige-photo", **TINY), folder)
    return folder


def test_a_saved_model_comes_back(folder: Path) -> None:
    torch.manual_seed(0)
    original, loaded = build("zellige-photo", **TINY), hub.load(folder)
    assert loaded.name == "zellige-photo/f8"
    assert loaded.config == original.config
    assert loaded.fingerprint() == original.fingerprint()
    assert not loaded.training
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: zellige")


def test_weights_can_be_read_by_whom_the_umask_allows(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    assert (folder / hub.WEIGHTS).stat().st_mode == other.stat().st_mode


def test_half_precision_files_load_as_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("zellige-photo", **TINY)
    path = hub.save_pretrained(model, tmp_path, dtype=torch.bfloat16)
    loaded = hub.load(path)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    x = torch.rand(1, 3, 32, 32)
    assert torch.allclose(loaded.latents(x), model.eval().latents(x), atol=0.1)


def test_the_licence_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build("zellige-photo", **TINY)
    model.licence = "CC-BY-4.0"
    hub.save_pretrained(model, tmp_path)
    hub.load(tmp_path)
    assert "CC-BY-4.0" in capsys.readouterr().err
    hub.load(tmp_path, quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("zelige-foto", Model, r"unknown model 'zelige-foto'; did you mean zellige-photo"),
        ("zelige-foto", Tokenizer, r"unknown tokenizer 'zelige-foto'; did you mean zellige-photo"),
        ("llamagen-", Generator, r"unknown generator 'llamagen-'; did you mean llamagen, maskgen"),
        ("qqqq", Generator, r"unknown generator 'qqqq'; known: enat, flowar, llamagen, maskgen"),
        ("zellige-photo", Generator, r"the tokenizer zellige-photo/\S+, no generator; see .*zellige list"),
        ("zellige-emoji", Tokenizer, r"the generator zellige-emoji/small, no tokenizer"),
    ],
)
def test_an_unknown_name_or_another_kind_says_what_there_is(name: str, kind: type[Model], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hub.load(name, kind=kind)


def test_a_planned_system_says_so() -> None:
    with pytest.raises(UsageError, match="planned"):
        hub.load("selftok")


def test_a_folder_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no model\.safetensors"):
        hub.load(tmp_path)


def _write(path: Path, header: object, **tensors: torch.Tensor) -> Path:
    save_file(tensors or {"x": torch.zeros(1)}, path, metadata={"zellige": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"system": "zellige-photo"},
        {"system": "zellige-photo", "config": {"channels": "many"}},
        {"system": "zellige-photo", "config": {"channels": -1}},
        {"system": "nonsense", "config": {}},
        {"system": "zellige-photo", "config": {"colour": 1}},
        {"system": "zellige-photo", "config": {"channels": 10**9, "norm": "channel"}},
    ],
)
def test_headers_are_not_trusted(tmp_path: Path, header: object) -> None:
    with pytest.raises(DataError):
        hub.load(_write(tmp_path / "model.safetensors", header))


def test_another_architecture_is_named_tensor_by_tensor(folder: Path, tmp_path: Path) -> None:
    header = hub.model_header(folder / hub.WEIGHTS)
    assert header is not None
    with pytest.raises(DataError, match=r"holds another architecture: .* is missing.*and \d+ more"):
        hub.load(_write(tmp_path / "model.safetensors", header))


def test_every_truncation_of_a_weights_file_is_an_error(folder: Path, tmp_path: Path) -> None:
    data = (folder / hub.WEIGHTS).read_bytes()
    damaged = tmp_path / "model.safetensors"
    for length in (0, 1, 7, 8, 100, len(data) // 2, len(data) - 1):
        damaged.write_bytes(data[:length])
        with pytest.raises(DataError, match="damaged"):
            hub.load(damaged)


def test_a_failed_write_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / hub.WEIGHTS).read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(Exception, match="no space left"):
        hub.write_model(build("zellige-photo", **TINY), folder / hub.WEIGHTS)
    assert (folder / hub.WEIGHTS).read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", hub.WEIGHTS]


def test_a_folder_that_cannot_be_made_is_one_line(folder: Path) -> None:
    with pytest.raises(ZelligeError, match="cannot make the folder"):
        hub.save_pretrained(hub.load(folder), folder / hub.WEIGHTS / "below")


class FakeHub:
    """Stands for the Hub's client, and counts what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cached: Path | None, answer: Exception | None) -> None:
        self.cached, self.answer, self.probes, self.downloads = cached, answer, 0, 0
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", self.probe)

    def download(self, repo: str, file: str, *, local_files_only: bool = False) -> str:
        if self.cached is not None:
            return str(self.cached)
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        self.downloads += 1
        raise AssertionError("the probe has failed: nothing is to be downloaded")

    def probe(self, url: str, *, timeout: float) -> None:
        assert timeout <= 10
        self.probes += 1
        if self.answer is not None:
            raise self.answer


def test_a_cached_model_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeHub(monkeypatch, folder / hub.WEIGHTS, ConnectionError("no network"))
    assert hub.load("owner/name").system == "zellige-photo"
    assert (client.probes, client.downloads) == (0, 0)


@pytest.mark.parametrize(
    ("name", "answer", "error", "words"),
    [
        ("hf:owner/name", ConnectionError("refused"), ZelligeError, r"hf:owner/name: the Hub cannot be reached"),
        ("owner/name", TimeoutError(), ZelligeError, r"'owner/name' is no file or folder here, and cannot get"),
        ("owner/name", EntryNotFoundError("404"), UsageError, r"it is not there, or not public"),
        ("hf:owner/name", OSError(28, "no space left"), ZelligeError, r"no space left for the Hub's cache"),
        ("llamagen-vq/vq-16", ConnectionError("refused"), ZelligeError, r"\. Or pass the path of vq_ds16_c2i\.pt"),
    ],
)
def test_the_hub_is_asked_once_and_its_failure_named(
    name: str, answer: Exception, error: type[ZelligeError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeHub(monkeypatch, None, answer)
    with pytest.raises(error, match=words):
        hub.load(name)
    assert (client.probes, client.downloads) == (1, 0)


def test_a_name_that_is_no_hub_id_is_refused() -> None:
    with pytest.raises(UsageError, match="'a/b/c' is no Hub id"):
        hub.load("hf:a/b/c")


def test_a_preset_without_weights_does_not_get_those_of_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundled").mkdir()
    shutil.copytree(folder, tmp_path / "bundled" / "vqgan")
    monkeypatch.setattr(hub, "resources", SimpleNamespace(files=lambda _: tmp_path))
    assert hub.bundled() == ["vqgan"]
    with pytest.raises(UsageError, match="no weights are published for 'vqgan/f8'"):
        hub.load("vqgan/f8")


def test_push_uploads_what_save_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: dict[str, object] = {}

    class Api:
        def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
            uploaded["repo"] = (repo, private, exist_ok)
            return f"hub/{repo}"

        def upload_folder(self, *, repo_id: str, folder_path: str) -> None:
            uploaded["files"] = sorted(path.name for path in Path(folder_path).iterdir())

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert build("zellige-photo", **TINY).push_to_hub("me/mine", private=True) == "hub/me/mine"
    assert uploaded == {"repo": ("me/mine", True, True), "files": ["README.md", hub.WEIGHTS]}


def test_a_failed_push_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError("401 Client Error")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    with pytest.raises(ZelligeError, match="cannot upload to 'me/mine': 401"):
        build("zellige-photo", **TINY).push_to_hub("me/mine")
