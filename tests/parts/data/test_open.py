"""`open_images` on everything a user may name."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.parts.data.drawn import jpeg, noise, shard, write_tar
from zellige.core.errors import DataError, UsageError
from zellige.data import ImageRecord, Skipped, open_images, samples
from zellige.data import files as files_module
from zellige.data.files import natural_key


def level(record: ImageRecord) -> int:
    """The grey level that `jpeg` drew."""
    return round(float(record.image.mean()))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def keys(source: object) -> list[str]:
    return [record.key for record in open_images(source)]  # type: ignore[arg-type]


def test_folder_is_read_in_natural_order_with_its_classes(tmp_path: Path) -> None:
    for name in ("b/img10.jpg", "b/img2.JPG", "a/x.jpeg", "top.jpg", ".hidden.jpg", "b/._img2.jpg", "notes.txt"):
        write(tmp_path / name, jpeg(50))
    source = open_images(tmp_path)
    assert [(record.key, record.label) for record in source] == [
        ("a/x.jpeg", 0),
        ("b/img2.JPG", 1),
        ("b/img10.jpg", 1),
        ("top.jpg", None),
    ]
    index = source.index()
    assert source.length == 4 == len(index)
    assert [entry.key for entry in (index[i] for i in range(4))] == [record.key for record in source]


def test_natural_order() -> None:
    assert sorted(["a10", "a9", "b", "a9b", "10", "9", "²"], key=natural_key) == [
        "9",
        "10",
        "a9",
        "a9b",
        "a10",
        "b",
        "²",
    ]


def test_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "a.jpg", jpeg(1))
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    assert keys(tmp_path) == ["sub/a.jpg"]


def test_pipe_named_like_an_image_does_not_hang(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", jpeg(1))
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    source = open_images(tmp_path)
    assert [record.key for record in source] == ["a.jpg"]
    assert source.skipped == [Skipped("gone.jpg", "does not exist")]


def test_name_that_is_no_utf8_can_be_printed(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"caf\xe9.jpg"), jpeg(7))
    source = open_images(tmp_path)
    assert [record.key for record in source] == ["caf\ufffd.jpg"]
    assert level(ImageRecord("", source.index()[0].decode().pixels)) == 7


def test_name_that_is_too_long_is_one_line() -> None:
    with pytest.raises(DataError, match="cannot be read: file name too long"):
        open_images("x" * 300)


def test_broken_files_are_skipped_by_name(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"{number}.jpg", jpeg(number))
    write(tmp_path / "empty.jpg", b"")
    write(tmp_path / "text.jpg", b"hello")
    write(tmp_path / "cut.jpg", jpeg(9)[:300])
    source = open_images(tmp_path)
    for _ in range(2):  # a second pass counts anew
        assert [level(record) for record in source] == [1, 2, 3]
        assert source.skipped_count == 3
        assert [skipped.key for skipped in source.skipped] == ["cut.jpg", "empty.jpg", "text.jpg"]
    assert source.skipped[1] == Skipped("empty.jpg", "is not an image (the file is empty)")


def test_skipped_names_are_bounded(tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "a.jpg", jpeg(1)))
    for number in range(1_500):
        source.skip(str(number), "is broken")
    assert (source.skipped_count, len(source.skipped)) == (1_500, 1_000)


def test_single_broken_file_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", jpeg(9)[:300])
    with pytest.raises(DataError, match="damaged or truncated"):
        list(open_images(path))


def test_files_globs_and_lists(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/readme.txt"):
        write(tmp_path / name, jpeg(7))
    assert keys(tmp_path / "a" / "1.jpg") == ["1.jpg"]
    assert keys([tmp_path / "b" / "1.jpg", str(tmp_path / "a" / "1.jpg")]) == ["b/1.jpg", "a/1.jpg"]
    assert keys(f"{tmp_path}/*/*") == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    assert keys(f"{tmp_path}/**/1.jpg") == ["a/1.jpg", "b/1.jpg"]
    mixed = open_images([tmp_path / "a", tmp_path / "b" / "1.jpg", shard(tmp_path / "s.tar", range(2))])
    assert [record.key for record in mixed] == ["1.jpg", "2.jpg", "1.jpg", "0000", "0001"]
    index = mixed.index()
    assert [index[i].key for i in range(len(index))] == ["1.jpg", "2.jpg", "1.jpg", "0000", "0001"]


def test_file_with_magic_characters_in_its_name(tmp_path: Path) -> None:
    assert keys(write(tmp_path / "a[1].jpg", jpeg(1))) == ["a[1].jpg"]


def test_what_does_not_exist_is_refused_with_a_near_name(tmp_path: Path) -> None:
    write(tmp_path / "photos" / "a.jpg", jpeg(1))
    (tmp_path / "empty").mkdir()
    write(tmp_path / "texts" / "a.txt", b"a")
    for name, message in {
        "photso": r"photso does not exist; did you mean .*photos\?",
        "zzz": r"zzz does not exist$",
        "no/where": "neither does its folder",
        "*.tiff": r"nothing matches .*\*\.tiff",
        "empty": r"no images in .*empty; looked for \.jpg",
        "texts": r"no images in .*texts; looked for \.jpg",
        "s-{0..2}.tar": r"s-0\.tar does not exist",
    }.items():
        with pytest.raises(UsageError, match=message):
            open_images(f"{tmp_path}/{name}")
    with pytest.raises(UsageError, match="no images were named"):
        open_images([])


def test_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a user without the right; the tests may run as one who has every right."""
    write(tmp_path / "closed" / "a.jpg", jpeg(1))
    write(tmp_path / "open" / "b.jpg", jpeg(2))
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(files_module.os, "scandir", scandir)
    with pytest.raises(DataError, match="closed cannot be listed: permission denied"):
        open_images(tmp_path / "closed")
    source = open_images(tmp_path)
    assert [record.key for record in source] == ["open/b.jpg"]
    assert source.skipped == [Skipped("closed/", "cannot be listed: permission denied")]


def test_tar_gives_images_classes_and_captions_and_unpickles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = open_images(shard(tmp_path / "a.tar", range(5)))
    seen = [(record.key, level(record), record.label, record.text) for record in source]
    assert seen == [(f"{n:04d}", n, n % 3, f"number {n}") for n in range(5)]
    assert (source.skipped_count, source.length) == (0, None)
    assert not (tmp_path / "unpickled").exists()
    index = source.index()
    assert (len(index), source.length) == (5, 5)
    assert (index[3].key, index[3].label) == ("0003", 0)
    assert index[3].decode().pixels.mean() == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize(("suffix", "mode"), [(".tar.gz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")])
def test_compressed_tar_is_read_from_front_to_back(tmp_path: Path, suffix: str, mode: str) -> None:
    source = open_images(shard(tmp_path / f"a{suffix}", range(4), mode))
    assert [(level(record), record.label) for record in source] == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert source.index() is None


def test_brace_pattern_and_folder_of_tars(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path / f"s-{number}.tar", range(2 * number, 2 * number + 2))
    expected = ["s-0/0000", "s-0/0001", "s-1/0002", "s-1/0003", "s-2/0004", "s-2/0005"]
    assert keys(f"{tmp_path}/s-{{0..2}}.tar") == keys(tmp_path) == expected
    index = open_images(tmp_path).index()
    assert [index[i].key for i in range(6)] == expected


def test_photographs_with_dots_in_their_names_are_samples_of_their_own(tmp_path: Path) -> None:
    members = {f"IMG.2024.{n}.{kind}": data for n in range(99) for kind, data in (("jpg", jpeg(n)), ("txt", b"t"))}
    records = list(open_images(write_tar(tmp_path / "a.tar", members)))
    assert [(record.key, level(record), record.text) for record in records] == [
        (f"IMG.2024.{n}", n, "t") for n in range(99)
    ]


def test_a_second_image_of_a_tar_sample_is_counted_by_name(tmp_path: Path) -> None:
    source = open_images(write_tar(tmp_path / "a.tar", {"x/y.jpg": jpeg(1), "x/y.png": jpeg(2), "x/z.png": jpeg(3)}))
    assert [record.key for record in source] == ["x/y", "x/z"]
    assert [(item.key, item.reason) for item in source.skipped] == [
        ("x/y.png", "is left out: jpg is the image of its sample")
    ]


def test_tar_names_lead_nowhere_else(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"../../etc/x.jpg": jpeg(1), "/abs/y.jpg": jpeg(2), "a/../z.jpg": jpeg(3)})
    assert keys(path) == ["etc/x", "abs/y", "a/z"]


def test_odd_facts_in_a_tar_are_left_out(tmp_path: Path) -> None:
    members = {
        "a.jpg": jpeg(1),
        "a.cls": b"cat",
        "a.json": b"[" * 100_000,
        "b.jpg": jpeg(2),
        "b.json": b'{"label": "x"}',
    }
    assert [(r.label, r.text) for r in open_images(write_tar(tmp_path / "a.tar", members))] == [(None, None)] * 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.55, 0.9])
@pytest.mark.parametrize("unit", [1, 512])
@pytest.mark.parametrize(("suffix", "pack"), [(".tar", bytes), (".tar.gz", gzip.compress)])
def test_truncated_tar_gives_what_is_whole(
    tmp_path: Path, share: float, unit: int, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    """Also where the cut falls between two members, and in a header, both of which tarfile takes for the end."""
    data = shard(tmp_path / "a.tar", range(9)).read_bytes().rstrip(bytes(1))
    source = open_images(write(tmp_path / f"cut{suffix}", pack(data[: int(len(data) * share) // unit * unit])))
    found = [level(record) for record in source]
    assert found == list(range(len(found)))
    assert len(found) < 9
    assert source.skipped_count > 0
    assert all("\n" not in skipped.reason for skipped in source.skipped)


def test_text_file_named_tar(tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "a.tar", b"no tar at all " * 100))
    assert list(source) == []
    assert source.skipped[0].key == "a.tar"


def test_member_that_claims_more_than_there_is(tmp_path: Path) -> None:
    data = bytearray(write_tar(tmp_path / "a.tar", {"a.jpg": jpeg(1)}).read_bytes())
    data[124:136] = b"00777777777\x00"  # the size field
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\x00 " % sum(data[:512])
    source = open_images(write(tmp_path / "b.tar", bytes(data)))
    assert list(source) == []
    assert {skipped.key for skipped in source.skipped} == {"a", "b.tar"}  # the image, and the end of the tar


def parquet(path: Path, columns: dict[str, object], rows: int = 4) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def test_parquet_with_image_structs_labels_and_captions(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        {
            "image": [{"bytes": jpeg(n), "path": "/etc/passwd"} for n in range(10)],
            "label": list(range(10)),
            "caption": [f"number {n}" for n in range(10)],
        },
    )
    source = open_images(path)
    seen = [(record.key, level(record), record.label, record.text) for record in source]
    assert seen == [(f"a-{n:06d}", n, n, f"number {n}") for n in range(10)]
    assert source.length == 10
    assert source.index() is None
    assert {entry.key for entry in source.entries(np.random.default_rng(0))} == {row[0] for row in seen}


def test_parquet_columns(tmp_path: Path) -> None:
    images = [jpeg(1), None, b"broken"]
    source = open_images(parquet(tmp_path / "a.parquet", {"picture": images, "label": ["a", "b", "c"]}))
    assert [(level(record), record.label) for record in source] == [(1, 0)]
    assert source.classes == ("a", "b", "c")
    assert [skipped.key for skipped in source.skipped] == ["a-000001", "a-000002"]
    with pytest.raises(UsageError, match=r"several could be: x, y"):
        open_images(parquet(tmp_path / "b.parquet", {"x": images, "y": images}))
    with pytest.raises(UsageError, match=r"known to hold images \(it has: label\)"):
        open_images(parquet(tmp_path / "c.parquet", {"label": [1]}))


def test_parquet_with_classes_by_name(tmp_path: Path) -> None:
    """Names are numbered in their order over all files; a row that lacks a part of its name has no label."""
    images = [jpeg(n) for n in range(3)]
    first = {"image": images, "category": ["z", "a", "a"], "subcategory": ["y", "c", None]}
    second = {"image": images, "category": ["a", "z", ""], "subcategory": ["b", "y", "c"]}
    source = open_images([parquet(tmp_path / "1.parquet", first), parquet(tmp_path / "2.parquet", second)])
    assert source.classes == ("a/b", "a/c", "z/y")
    assert [record.label for record in source] == [2, 1, None, 0, 2, None]


def test_parquet_with_names_of_its_numbers(tmp_path: Path) -> None:
    """As Hugging Face `datasets` writes them."""
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [jpeg(0), jpeg(1)], "label": [1, 0]})
    for metadata, names in ((json.dumps(features), ("cat", "dog")), ("{", ()), ('{"info": 3}', ())):
        pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "a.parquet")
        source = open_images(tmp_path / "a.parquet")
        assert source.classes == names
        assert [record.label for record in source] == [1, 0]


def test_parquet_path_without_bytes_is_not_followed(tmp_path: Path) -> None:
    other = write(tmp_path / "secret.jpg", jpeg(1))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": str(other)}], kind)
    source = open_images(parquet(tmp_path / "a.parquet", {"image": images}))
    assert list(source) == []
    assert source.skipped_count == 1


def test_damaged_parquet(tmp_path: Path) -> None:
    data = parquet(tmp_path / "a.parquet", {"image": [jpeg(n) for n in range(9)]}).read_bytes()
    for damaged in (b"", b"text", data[:-20], data[: len(data) // 2]):
        with pytest.raises(DataError, match=r"b\.parquet is not a sound Parquet file"):
            open_images(write(tmp_path / "b.parquet", damaged))
    holed = bytearray(data)
    holed[4:80] = bytes(76)  # the first page
    source = open_images(write(tmp_path / "b.parquet", bytes(holed)))
    assert len(list(source)) + source.skipped_count >= 1
    assert source.skipped_count >= 1


def test_animation_is_marked_in_its_record(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (record,) = open_images(tmp_path / "a.gif")
    assert record.several_frames
    assert record.image[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_keep_the_order_and_read_only_a_little_ahead(tmp_path: Path, workers: int) -> None:
    noise(tmp_path / "set", 40)
    source = open_images(tmp_path / "set", workers=workers)
    read = 0
    plain = source.entries

    def counted(order: np.random.Generator | None = None):  # type: ignore[no-untyped-def]
        nonlocal read
        for entry in plain(order):
            read += 1
            yield entry

    source.entries = counted  # type: ignore[method-assign]
    for number, record in enumerate(source):
        assert record.key == f"{number}.png"
        assert read <= number + 2 * workers + 2
    assert read == 40


def test_samples_are_photographs_of_odd_sizes_with_a_licence_each() -> None:
    paths = samples()
    assert 6 <= len(paths) <= 8
    licences = (paths[0].parent / "LICENSES.md").read_text()
    shapes = []
    for record in open_images(paths):
        assert record.key in licences
        shapes.append(record.image.shape[:2])
        assert max(shapes[-1]) <= 768
    assert any(height > width for height, width in shapes)
    assert any(width > height for height, width in shapes)
    assert any(height % 8 and width % 8 for height, width in shapes)
    assert sum(path.stat().st_size for path in paths) <= 2**20
