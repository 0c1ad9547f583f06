"""Token sets: what is written is what is read, by row, by batch and by other programs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import zellige
from zellige.codec import TokenSet, TokenSetWriter, load_tokens
from zellige.core.errors import UsageError
from zellige.core.tokens import Layout, Tokens

from .conftest import FINGERPRINT

GRID = ((2, 3),)


def draw(samples: int, layout: Layout = GRID, codebook: tuple[int, ...] = (64000,), seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    count = sum(torch.Size(block).numel() for block in layout)
    ids = torch.stack([torch.randint(k, (samples, count), generator=generator) for k in codebook], dim=-1)
    return Tokens(ids if len(codebook) > 1 else ids[..., 0], layout, codebook)


def write(path: Path, *batches: Tokens, layout: Layout | None = None, rows_per_part: int = 4) -> TokenSet:
    codebook = batches[0].codebook
    writer = TokenSetWriter(
        path, name="toy/f8", fingerprint=FINGERPRINT, codebook=codebook, layout=layout, rows_per_part=rows_per_part
    )
    for b, tokens in enumerate(batches):
        keys = [f"{b}/{i}.jpg" for i in range(len(tokens))]
        writer.append(keys, tokens, [(40 + i, 30 + b) for i in range(len(tokens))])
    return TokenSet(writer.finish())


@pytest.mark.parametrize("codebook", [(256,), (257,), (64000,), (1 << 18,), (7, 300)])
@pytest.mark.parametrize("layout", [GRID, None])
def test_rows_read_back(tmp_path: Path, codebook: tuple[int, ...], layout: Layout | None) -> None:
    tokens = draw(11, codebook=codebook)
    found = write(tmp_path / "set.parquet", tokens, layout=layout)
    assert len(found) == 11
    assert torch.equal(found.tokens(range(11)).data, tokens.data)
    picked = found.tokens([10, 0, -1, 5, 5])
    assert torch.equal(picked.data, tokens.data[[10, 0, 10, 5, 5]])
    assert (picked.layout, picked.codebook, picked.lengths) == (GRID, codebook, None)


def test_the_file_says_whose_tokens_it_holds(tmp_path: Path) -> None:
    found = write(tmp_path / "set.parquet", draw(3))
    info = found.info
    assert (info.name, info.fingerprint, info.codebook, info.layout) == ("toy/f8", FINGERPRINT, (64000,), GRID)
    assert info.library == zellige.__version__
    described = found.describe()
    assert described["rows"] == 3
    assert described["bytes"] == found.path.stat().st_size
    assert described["layout"] == [[2, 3]]


@pytest.mark.parametrize(
    ("codebook", "size"), [((256,), 6), ((257,), 12), ((65536,), 12), ((65537,), 24), ((2, 9), 12)]
)
def test_ids_take_the_smallest_integer_that_fits(tmp_path: Path, codebook: tuple[int, ...], size: int) -> None:
    found = write(tmp_path / "set.parquet", draw(2, codebook=codebook))
    assert pq.read_schema(found.path).field("ids").type.byte_width == size


def test_another_program_can_read_it(tmp_path: Path) -> None:
    tokens = draw(5)
    table = pq.read_table(write(tmp_path / "set.parquet", tokens).path)
    rows = [np.frombuffer(row, "<u2").tolist() for row in table.column("ids").to_pylist()]
    assert rows == tokens.data.tolist()
    assert table.column("key").to_pylist() == [f"0/{i}.jpg" for i in range(5)]
    assert table.column("width").to_pylist() == [40, 41, 42, 43, 44]


@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_a_set_that_another_program_wrote_again_still_reads(tmp_path: Path, compression: str) -> None:
    tokens = draw(9)
    path = write(tmp_path / "set.parquet", tokens).path
    pq.write_table(pq.read_table(path), path, compression=compression, row_group_size=4)
    found = TokenSet(path)
    assert torch.equal(found.tokens([8, 0, 3]).data, tokens.data[[8, 0, 3]])
    assert list(found.keys()) == [f"0/{i}.jpg" for i in range(9)]


def test_layouts_differ_by_row_only_where_they_must(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", draw(3), draw(4, seed=1))
    two = write(tmp_path / "two.parquet", draw(3), draw(4, ((3, 3),), seed=1), draw(2, seed=2))
    assert (one.info.layout, two.info.layout) == (GRID, None)
    assert two.layouts() == {GRID, ((3, 3),)}
    assert torch.equal(two.tokens([3, 6]).data, draw(4, ((3, 3),), seed=1).data[[0, 3]])
    with pytest.raises(UsageError, match="different layouts"):
        two.tokens([0, 3])


def test_batches_share_a_layout_and_cover_all_rows(tmp_path: Path) -> None:
    parts = [draw(5), draw(4, ((3, 3),), seed=1), draw(3, seed=2)]
    found = write(tmp_path / "set.parquet", *parts, rows_per_part=7)
    seen: dict[str, list[int]] = {}
    for batch in found.batches(2):
        assert 1 <= len(batch.keys) <= 2
        for i, key in enumerate(batch.keys):
            seen[key] = batch.tokens.data[i].tolist()
            assert batch.sizes[i] == (40 + int(key[2:-4]), 30 + int(key[0]))
    assert seen == {f"{b}/{i}.jpg": part.data[i].tolist() for b, part in enumerate(parts) for i in range(len(part))}


def test_labels_captions_and_lengths_read_back(tmp_path: Path) -> None:
    ids = torch.arange(12).reshape(2, 6)
    tokens = Tokens(ids, ((6,),), (500,), lengths=torch.tensor([4, 6]))
    writer = TokenSetWriter(tmp_path / "a.parquet", name="toy", fingerprint=FINGERPRINT, codebook=(500,))
    writer.append(["é.png", "b"], tokens, [(8, 8)] * 2, classes=[3, None], texts=[None, "a “cat”"])
    writer.append(["c"], Tokens(ids[:1], ((6,),), (500,)), [(8, 8)])
    found = TokenSet(writer.finish())
    (batch,) = found.batches(9)
    assert (batch.keys, batch.classes, batch.texts) == (["é.png", "b", "c"], [3, None, None], [None, "a “cat”", None])
    assert batch.tokens.lengths is not None
    assert batch.tokens.lengths.tolist() == [4, 6, 6]
    picked = found.tokens([2, 0])
    assert picked.lengths is not None
    assert picked.lengths.tolist() == [6, 4]


def test_samples_are_random_rows_by_seed(tmp_path: Path) -> None:
    tokens = draw(50)
    found = write(tmp_path / "set.parquet", tokens)
    first, again = (found.sample(300, torch.Generator().manual_seed(4)).data for _ in range(2))
    assert torch.equal(first, again)
    rows = {tuple(row) for row in tokens.data.tolist()}
    drawn = {tuple(row) for row in first.tolist()}
    assert drawn <= rows
    assert len(drawn) > 40


def test_a_set_can_be_sent_to_workers(tmp_path: Path) -> None:
    found = write(tmp_path / "set.parquet", draw(4))
    assert torch.equal(pickle.loads(pickle.dumps(found)).tokens([2]).data, found.tokens([2]).data)


def test_rows_that_are_not_there(tmp_path: Path) -> None:
    found = write(tmp_path / "set.parquet", draw(4))
    for rows in ([4], [-5], [0, 9]):
        with pytest.raises(IndexError, match="of 4"):
            found.tokens(rows)
    with pytest.raises(UsageError, match="no rows"):
        found.tokens([])


def test_other_files_are_refused(tmp_path: Path, smooth_tokens: Callable[..., Tokens]) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"some text, long enough")
    with pytest.raises(UsageError, match="no Parquet file"):
        TokenSet(path)
    pq.write_table(pq.read_table(write(tmp_path / "b.parquet", draw(2)).path).replace_schema_metadata(None), path)
    with pytest.raises(UsageError, match="no token set"):
        TokenSet(path)
    with pytest.raises(UsageError, match="does not exist"):
        TokenSet(tmp_path / "c.parquet")
    with pytest.raises(UsageError, match="is a folder"):
        TokenSet(tmp_path)
    assert isinstance(load_tokens(tmp_path / "b.parquet"), TokenSet)


def test_labels_texts_and_the_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    names = ("sea", "land")
    facts = {"name": "toy/f8", "fingerprint": FINGERPRINT, "codebook": (64000,), "layout": GRID}
    writer = TokenSetWriter(path, classes=names, rows_per_part=2, **facts)
    labels, texts = [1, None, 0, 1, 0], ["a", None, "c", "d", "e"]
    writer.append([str(i) for i in range(5)], draw(5), [(8, 8)] * 5, classes=labels, texts=texts)
    found = TokenSet(writer.finish())
    assert found.info.classes == names
    assert found.labels.tolist() == [1, -1, 0, 1, 0]
    assert found.texts([4, 0, 1, 4]) == ["e", "a", None, "e"]
    with pytest.raises(UsageError, match="classes"):
        TokenSetWriter(path, classes=("land", "sea"), resume=True, **facts)
