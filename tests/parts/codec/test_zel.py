"""`.zel` files: round trip, size, choice of coding, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from zellige.codec import (
    EncodedImage,
    EntropyModel,
    dumps,
    file_kind,
    info_zel,
    load_tokens,
    loads,
    read_zel,
    write_zel,
)
from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.tokens import Layout, Tokens

from .conftest import FINGERPRINT

Images = Callable[..., EncodedImage]


def same(a: EncodedImage, b: EncodedImage) -> bool:
    assert a.tokens.ids is not None
    assert b.tokens.ids is not None
    facts = [(x.width, x.height, x.tokenizer, x.fingerprint, x.tokens.layout, x.tokens.codebook) for x in (a, b)]
    return facts[0] == facts[1] and torch.equal(a.tokens.ids, b.tokens.ids)


@pytest.mark.parametrize("coding", ["fixed", "entropy", "auto"])
def test_an_image_reads_back(image: Images, tables: EntropyModel, coding: str) -> None:
    original = image(5, 7)
    found = loads(dumps(original, tables, coding), tables)
    assert same(found, original)
    assert found.coding == ("entropy" if coding == "auto" else coding)


@pytest.mark.parametrize(
    ("layout", "codebook"),
    [
        (((32,),), (4096,)),
        (((1, 1), (2, 2), (3, 3)), (500,)),
        (((4,), (3, 2)), (2, 1 << 18)),
        (((2, 3, 4),), (3, 5, 7)),
    ],
)
def test_every_layout_and_codebook_reads_back(image: Images, layout: Layout, codebook: tuple[int, ...]) -> None:
    size = sum(torch.Size(block).numel() for block in layout)
    ids = torch.stack([torch.randint(k, (1, size)) for k in codebook], dim=-1)
    original = image(tokens=Tokens(ids if len(codebook) > 1 else ids[..., 0], layout, codebook))
    assert same(loads(dumps(original)), original)


def test_the_header_is_small_and_the_payload_is_packed(image: Images, tmp_path: Path) -> None:
    path = tmp_path / "a.zel"
    size = write_zel(path, image(8, 8), coding="fixed")
    info = info_zel(path)
    assert size == path.stat().st_size == info["bytes"]
    assert info["payload_bytes"] == 8 * 8 * 2
    assert info["header_bytes"] <= 40
    assert info["bits_per_pixel"] == 8 * size / (61 * 63)
    assert (info["width"], info["height"], info["tokens"], info["coding"]) == (61, 63, 64, "fixed")


def test_without_tables_the_coding_is_fixed_and_says_so(image: Images) -> None:
    assert loads(dumps(image(), coding="entropy")).coding == "fixed"


def test_auto_takes_the_smaller(image: Images, tables: EntropyModel) -> None:
    """Ids unlike those of the fit are cheaper packed."""
    ids = torch.randint(64000, (1, 64), generator=torch.Generator().manual_seed(0))
    random = image(8, 8, Tokens(ids, ((8, 8),), (64000,)))
    assert len(dumps(random, tables)) == len(dumps(random, coding="fixed")) < len(dumps(random, tables, "entropy"))
    smooth = image(16, 16)
    assert len(dumps(smooth, tables)) == len(dumps(smooth, tables, "entropy")) < len(dumps(smooth, coding="fixed"))


def test_only_valid_tokens_are_kept(image: Images) -> None:
    tokens = Tokens(torch.arange(16)[None], ((16,),), (4096,), lengths=torch.tensor([5]))
    found = loads(dumps(image(tokens=tokens))).tokens
    assert found.layout == ((5,),)
    assert found.data.tolist() == [[0, 1, 2, 3, 4]]


def test_tables_are_found_by_name_and_weights(image: Images, tables: EntropyModel) -> None:
    asked: list[tuple[str, str]] = []

    def find(tokenizer: str, fingerprint: str) -> EntropyModel:
        asked.append((tokenizer, fingerprint))
        return tables

    assert loads(dumps(image(), find, "entropy"), find).coding == "entropy"
    assert asked == [("toy/f8", FINGERPRINT)] * 2


def test_entropy_coded_files_need_their_own_tables(image: Images, tables: EntropyModel) -> None:
    data = dumps(image(), tables, "entropy")
    with pytest.raises(UsageError, match="not at hand"):
        loads(data)
    others = EntropyModel(tables.radices, tuple(t[:, ::-1].copy() for t in tables.tables), FINGERPRINT, "toy")
    with pytest.raises(UsageError, match="other entropy tables"):
        loads(data, others)
    foreign = EntropyModel(tables.radices, tables.tables, "f" * 16, "other")
    with pytest.raises(UsageError, match="are not those of"):
        dumps(image(), foreign)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (Tokens(None, ((4,),), latents=torch.zeros(1, 4, 2)), "continuous"),
        (Tokens(torch.zeros(2, 4, dtype=torch.int64), ((4,),), (8,)), "one image"),
        (Tokens(torch.full((1, 4), 8), ((4,),), (8,)), "outside the codebook"),
        (Tokens(torch.full((1, 4), -1), ((4,),), (8,)), "outside the codebook"),
        (Tokens(torch.zeros(1, 4, dtype=torch.int64), ((4,),), (1,)), "codebook size"),
        (Tokens(torch.zeros(1, 20_000, dtype=torch.int64), ((20_000,),), (8,)), "too many"),
    ],
)
def test_what_does_not_fit_is_refused(image: Images, tokens: Tokens, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dumps(image(tokens=tokens))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width"),
        ({"height": 1 << 21}, "height"),
        ({"tokenizer": ""}, "length of the name"),
        ({"tokenizer": "x\n"}, "printable"),
        ({"fingerprint": "12"}, "16 hexadecimal"),
    ],
)
def test_a_header_that_no_reader_takes_is_not_written(image: Images, change: dict[str, object], message: str) -> None:
    facts = {"width": 48, "height": 32, "tokenizer": "toy", "fingerprint": FINGERPRINT, **change}
    with pytest.raises(UsageError, match=message):
        dumps(EncodedImage(image().tokens, **facts))  # type: ignore[arg-type]


def test_an_unknown_coding_is_refused(image: Images) -> None:
    with pytest.raises(UsageError, match="unknown coding 'zip'"):
        dumps(image(), coding="zip")


def test_files_are_told_apart_by_content(image: Images, tables: EntropyModel, tmp_path: Path) -> None:
    path = tmp_path / "named.parquet"
    write_zel(path, image(), tables)
    found = load_tokens(path, tables)
    assert isinstance(found, EncodedImage)
    assert same(found, image())
    for content in (b"", b"\x89PN", b"a photograph"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"named\.parquet holds no tokens: expected"):
            file_kind(path)
        with pytest.raises(DataError, match=r"not a \.zel"):
            read_zel(path)


def test_missing_paths_and_folders(image: Images, tmp_path: Path) -> None:
    for read in (load_tokens, read_zel, info_zel):
        with pytest.raises(UsageError, match="does not exist"):
            read(tmp_path / "missing.zel")
        with pytest.raises(UsageError, match="is a folder"):
            read(tmp_path)
    with pytest.raises(ZelligeError, match="does not exist") as caught:
        write_zel(tmp_path / "no" / "a.zel", image())
    assert caught.value.exit_code == 1
    with pytest.raises(ZelligeError, match="is a folder"):
        write_zel(tmp_path, image())


def test_a_full_disk_leaves_nothing(image: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zel"
    write_zel(path, image())
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match=r"a\.zel: no space left on device") as caught:
        write_zel(path, image(6, 6))
    assert getattr(caught.value, "exit_code", None) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.zel"]
    assert path.read_bytes() == before
