"""The streams that training and evaluation read."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from tests.parts.data.drawn import jpeg, noise, shard, write_tar
from zellige.core.errors import DataError, UsageError
from zellige.data import TrainStream, open_images
from zellige.data.shuffle import shuffled
from zellige.data.transforms import RandomCrop

COUNT = 11


def folder(path: Path) -> Path:
    noise(path / "set", COUNT)
    (path / "set" / "4.png").write_bytes(b"broken")
    return path / "set"


def tar(path: Path) -> Path:
    return shard(path / "set.tar", range(10, 10 + COUNT))


def compressed_tar(path: Path) -> Path:
    return shard(path / "set.tar.gz", range(10, 10 + COUNT), "w:gz")


def parquet(path: Path) -> Path:
    images = [jpeg(n) if n != 14 else b"broken" for n in range(10, 10 + COUNT)]
    pq.write_table(pa.table({"image": images}), path / "set.parquet", row_group_size=3)
    return path / "set.parquet"


KINDS = pytest.mark.parametrize("kind", [folder, tar, compressed_tar, parquet])
Kind = Callable[[Path], Path]


def take(stream: TrainStream, count: int) -> list[Tensor]:
    return list(itertools.islice(stream, count))


def levels(batches: list[Tensor]) -> Counter[int]:
    """How often each grey level that `jpeg` drew occurs."""
    return Counter(round(float((crop.mean() + 1) * 127.5)) for batch in batches for crop in batch)


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@KINDS
def test_batches_are_pixels(tmp_path: Path, kind: Kind) -> None:
    (batch,) = take(TrainStream(open_images(kind(tmp_path)), 16, 6, crops_per_image=3), 1)
    assert batch.shape == (6, 3, 16, 16)
    assert batch.dtype == torch.float32
    assert -1 <= batch.min() <= batch.max() <= 1


@KINDS
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_resuming_gives_the_same_batches_to_the_bit(tmp_path: Path, kind: Kind, stop: int) -> None:
    """Over several epochs, past broken files, and whatever was read ahead."""
    path = kind(tmp_path)

    def stream(workers: int) -> TrainStream:
        return TrainStream(open_images(path), 16, 4, seed=3, crops_per_image=2, workers=workers, buffer=5)

    whole = take(stream(2), 20)
    first = stream(1)
    assert same(take(first, stop), whole[:stop])
    state = json.loads(json.dumps(first.state_dict()))
    second = stream(0)
    second.load_state_dict(state)
    assert same(take(second, 20 - stop), whole[stop:])


@KINDS
def test_another_seed_is_another_order(tmp_path: Path, kind: Kind) -> None:
    path = kind(tmp_path)
    one, two = (take(TrainStream(open_images(path), 16, 8, seed=seed), 1) for seed in (0, 1))
    assert not same(one, two)


@pytest.mark.parametrize("kind", [tar, compressed_tar])
def test_every_image_comes_once_an_epoch_in_changing_order(tmp_path: Path, kind: Kind) -> None:
    stream = TrainStream(open_images(kind(tmp_path)), 16, COUNT, buffer=4)
    first, second = take(stream, 2)
    assert levels([first]) == levels([second]) == Counter(range(10, 10 + COUNT))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", [tar, compressed_tar])
def test_ranks_share_an_epoch_between_them(tmp_path: Path, kind: Kind) -> None:
    path = kind(tmp_path)
    streams = [TrainStream(open_images(path), 16, 1, rank=rank, world=COUNT) for rank in range(COUNT)]
    assert levels([take(stream, 1)[0] for stream in streams]) == Counter(range(10, 10 + COUNT))


def test_state_is_the_same_on_every_rank_even_past_broken_files(tmp_path: Path) -> None:
    path = folder(tmp_path)
    streams = [TrainStream(open_images(path), 16, 2, rank=rank, world=2) for rank in range(2)]
    for stream in streams:
        take(stream, 9)
    assert streams[0].state_dict() == streams[1].state_dict()


@pytest.mark.parametrize("kind", [folder, parquet])
def test_broken_files_are_named_once(tmp_path: Path, kind: Kind) -> None:
    stream = TrainStream(open_images(kind(tmp_path)), 16, 4)
    take(stream, 12)
    assert stream.source.skipped_count == 1
    assert stream.source.skipped[0].key in ("4.png", "set-000004")


@KINDS
def test_set_that_shrinks_to_nothing_is_an_error(tmp_path: Path, kind: Kind) -> None:
    stream = TrainStream(open_images(kind(tmp_path)), 16, 4, min_side=64)
    with pytest.raises(DataError, match=r"no usable image in .*: all \d+ were left out; the first: .* is "):
        take(stream, 1)


def test_tar_without_images_is_an_error(tmp_path: Path) -> None:
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with pytest.raises(UsageError, match=r"a\.tar.* holds no images"):
            take(TrainStream(open_images(shard(tmp_path / name, range(0), mode)), 16, 4), 1)


def test_small_images_are_left_out_and_others_kept(tmp_path: Path) -> None:
    for number, side in enumerate((20, 60, 80)):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(50 + number, side, side))
    stream = TrainStream(open_images(tmp_path), 8, 8, min_side=60)
    assert set(levels(take(stream, 2))) == {51, 52}
    assert stream.source.skipped[0].reason == "is smaller than 60 pixels on a side"


def test_crops_of_one_image_share_a_batch_and_differ(tmp_path: Path) -> None:
    noise(tmp_path, 1)
    (batch,) = take(TrainStream(open_images(tmp_path), RandomCrop(8), 4, crops_per_image=4), 1)
    assert len({crop.numpy().tobytes() for crop in batch}) > 1
    with pytest.raises(UsageError, match="batch_size 6 is not a multiple of crops_per_image 4"):
        TrainStream(open_images(tmp_path), 8, 6, crops_per_image=4)


def test_shuffle_buffer_gives_everything_once_and_moves_it_little() -> None:
    out = list(shuffled(iter(range(200)), 10, np.random.default_rng(0)))
    assert sorted(out) == list(range(200))
    assert out != list(range(200))
    assert all(value <= place + 10 for place, value in enumerate(out))


def test_by_area_draws_a_large_image_as_often_as_its_pixels_allow(tmp_path: Path) -> None:
    for number, (height, width) in enumerate(((16, 16), (32, 64))):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(50 + 100 * number, height, width))
    stream = TrainStream(open_images(tmp_path), RandomCrop(16), 9, area=16 * 16)
    (batch,) = take(stream, 1)  # one epoch: 1 of the small image, 8 of the large one
    assert sorted((batch.mean((1, 2, 3)) > 0).tolist()) == [False] + [True] * 8


def test_by_area_names_a_broken_image_when_its_turn_comes(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"nothing")
    (tmp_path / "1.jpg").write_bytes(jpeg(50, 16, 16))
    stream = TrainStream(open_images(tmp_path), 8, 2, area=64)
    take(stream, 4)
    assert [skipped.key for skipped in stream.source.skipped] == ["0.jpg"]


def test_a_set_without_numbers_cannot_be_drawn_by_area(tmp_path: Path) -> None:
    source = open_images(shard(tmp_path / "a.tar.gz", range(3), "w:gz"))
    assert source.index() is None
    with pytest.raises(UsageError, match="cannot be drawn by area"):
        TrainStream(source, 8, 2, area=64)


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz"])
def test_classes_and_captions_come_with_the_crops(name: str, tmp_path: Path) -> None:
    source = open_images(shard(tmp_path / name, range(10, 16), "w:gz" if name.endswith("gz") else "w"))
    stream = TrainStream(source, 8, 3)
    for batch in itertools.islice(stream.labelled(), 4):
        numbers = [round(float((crop.mean() + 1) * 127.5)) for crop in batch.pixels]
        assert batch.texts == [f"number {number}" for number in numbers]
        assert batch.labels == [number % 3 for number in numbers]


def test_an_image_without_a_caption_has_none(tmp_path: Path) -> None:
    members = {"1.jpg": jpeg(20), "2.jpg": jpeg(30), "2.json": b'{"text": "\\ud83d!"}'}
    index = open_images(write_tar(tmp_path / "set.tar", members)).index()
    assert index is not None
    assert [index[number].text for number in range(2)] == [None, "?!"]  # half of a pair of surrogates is no text
