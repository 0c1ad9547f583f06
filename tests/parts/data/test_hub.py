"""`hf:` names, with the Hub replaced by a folder: tests need no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from tests.parts.data.drawn import jpeg
from zellige.core.errors import DataError, MissingExtra, UsageError
from zellige.data import hub, open_images


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set ``owner/name`` with a train split of six images."""
    images = [{"bytes": jpeg(n), "path": None} for n in range(6)]
    pq.write_table(pa.table({"image": images, "label": list(range(6))}), tmp_path / "train.parquet")
    real = datasets.load_dataset

    def load_dataset(name: str, split: str, streaming: bool) -> Any:
        assert (name, streaming) == ("owner/name", True)
        cache = str(tmp_path / "cache")
        return real("parquet", data_dir=str(tmp_path), split=split, streaming=True, cache_dir=cache)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: None)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("name", ["hf:owner/name", "hf:owner/name:train"])
def test_set_is_streamed(name: str) -> None:
    source = open_images(name)
    seen = [(record.key, round(float(record.image.mean())), record.label) for record in source]
    assert seen == [(f"{n:08d}", n, n) for n in range(6)]
    assert len(list(source.entries(np.random.default_rng(0)))) == 6
    assert source.index() is None


@pytest.mark.usefixtures("served")
def test_unknown_split_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"hf:owner/name:test cannot be opened: .*train"):
        open_images("hf:owner/name:test")


@pytest.mark.usefixtures("served")
def test_image_files_of_the_repository_are_fetched_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def cat_file(_: object, path: str) -> bytes:
        fetched.append(path)
        return jpeg(77)

    monkeypatch.setattr(hub.HfFileSystem, "cat_file", cat_file)
    source = open_images("hf:owner/name")
    paths = ("hf://datasets/owner/name/a.jpg", "/etc/passwd", None)
    source._data = [{"image": {"bytes": None, "path": path}, "label": 0} for path in paths]
    assert [round(float(record.image.mean())) for record in source] == [77]
    assert fetched == ["hf://datasets/owner/name/a.jpg"]
    assert source.skipped_count == 2


def test_without_a_network_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("[Errno -2] Name or service not known\nmore")

    monkeypatch.setattr(HfApi, "dataset_info", unreachable)
    with pytest.raises(DataError) as caught:
        open_images("hf:owner/name")
    assert str(caught.value) == (
        "hf:owner/name cannot be opened: [Errno -2] Name or service not known; is there a network?"
    )


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zellige\[data\]'"):
        open_images("hf:owner/name")


def test_name_without_a_set_is_refused() -> None:
    with pytest.raises(UsageError, match="'hf:' names no data set"):
        open_images("hf:")
