"""The writer of token sets: resuming, refusing, and what a kill leaves behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from zellige.codec import TokenSet, TokenSetWriter
from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.tokens import Layout, Tokens

from .conftest import FINGERPRINT


def row(i: int) -> Tokens:
    """One row that depends on its number only; every third one is larger."""
    layout: Layout = ((2, 2),) if i % 3 else ((2, 3),)
    count = 4 if i % 3 else 6
    return Tokens((torch.arange(count)[None] * 31 + i * 7) % 64000, layout, (64000,))


def open_writer(path: Path, resume: bool = False, fingerprint: str = FINGERPRINT) -> TokenSetWriter:
    return TokenSetWriter(
        path, name="toy/f8", fingerprint=fingerprint, codebook=(64000,), resume=resume, rows_per_part=4
    )


def fill(writer: TokenSetWriter, rows: range) -> None:
    for i in rows:
        if f"k{i}" not in writer.done:
            writer.append([f"k{i}"], row(i), [(16, 16)])


def content(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for batch in TokenSet(path).batches(3):
        for i, key in enumerate(batch.keys):
            assert key not in found
            found[key] = batch.tokens.data[i].tolist()
    return found


def expected(count: int) -> dict[str, list[int]]:
    return {f"k{i}": row(i).data[0].tolist() for i in range(count)}


def test_only_the_final_file_remains(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "set.parquet")
    fill(writer, range(10))
    assert writer.done == {f"k{i}" for i in range(8)}
    assert not (tmp_path / "set.parquet").exists()
    assert writer.finish() == tmp_path / "set.parquet"
    assert [p.name for p in tmp_path.iterdir()] == ["set.parquet"]
    assert content(tmp_path / "set.parquet") == expected(10)


def test_resuming_keeps_finished_parts_and_makes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    fill(open_writer(path), range(10))  # dropped without finish: as if killed
    writer = open_writer(path, resume=True)
    assert writer.done == {f"k{i}" for i in range(8)}
    fill(writer, range(13))
    writer.finish()
    assert content(path) == expected(13)


def test_when_parts_were_cut_is_not_seen_in_the_file(tmp_path: Path) -> None:
    whole, cut = open_writer(tmp_path / "whole.parquet"), open_writer(tmp_path / "cut.parquet")
    fill(whole, range(10))
    for some in (range(1), range(1, 6), range(6, 7), range(7, 10)):
        fill(cut, some)
        cut.flush()  # as a clock may say, or a signal
    assert cut.finish().read_bytes() == whole.finish().read_bytes()
    later = open_writer(tmp_path / "cut.parquet", resume=True)
    fill(later, range(10, 13))
    further = open_writer(tmp_path / "further.parquet")
    fill(further, range(13))
    assert later.finish().read_bytes() == further.finish().read_bytes()


def test_parts_are_never_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    fill(open_writer(path), range(4))
    with pytest.raises(UsageError, match=r"set\.parquet\.parts holds the parts of an unfinished run: resume"):
        open_writer(path)


def test_parts_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    fill(open_writer(path), range(4))
    with pytest.raises(UsageError, match=f"tokens of fingerprint {FINGERPRINT}, not of fingerprint {'f' * 16};"):
        open_writer(path, resume=True, fingerprint="f" * 16)


def test_parts_of_another_layout_are_refused_by_it(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    fill(open_writer(path), range(4))
    with pytest.raises(UsageError, match=r"holds tokens of layout None, not of layout \(\(2, 2\),\);"):
        TokenSetWriter(path, name="toy/f8", fingerprint=FINGERPRINT, codebook=(64000,), layout=((2, 2),), resume=True)


def test_a_finished_set_can_be_extended(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    writer = open_writer(path)
    fill(writer, range(1, 3))  # one layout: the file has a column of fixed size
    writer.finish()
    assert TokenSet(path).info.layout == ((2, 2),)
    writer = open_writer(path, resume=True)
    assert writer.done == {"k1", "k2"}
    fill(writer, range(7))
    writer.finish()
    assert TokenSet(path).info.layout is None
    assert content(path) == expected(7)


def test_resuming_a_finished_set_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    writer = open_writer(path)
    fill(writer, range(5))
    before = writer.finish().read_bytes()
    writer = open_writer(path, resume=True)
    fill(writer, range(5))
    writer.finish()
    assert path.read_bytes() == before


def test_parts_left_by_a_kill_after_joining_are_not_joined_twice(tmp_path: Path) -> None:
    path, saved = tmp_path / "set.parquet", tmp_path / "saved"
    writer = open_writer(path)
    fill(writer, range(10))
    writer.flush()
    shutil.copytree(tmp_path / "set.parquet.parts", saved)
    writer.finish()
    (saved / "part-000000.parquet").unlink()  # the removal had begun
    saved.rename(tmp_path / "set.parquet.parts")
    writer = open_writer(path, resume=True)
    fill(writer, range(11))
    writer.finish()
    assert content(path) == expected(11)


def test_a_half_written_part_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    fill(open_writer(path), range(8))
    (tmp_path / "set.parquet.parts" / ".part-000002.parquet.1.tmp").write_bytes(b"PAR1 and no more")
    writer = open_writer(path, resume=True)
    fill(writer, range(9))
    writer.finish()
    assert content(path) == expected(9)
    assert [p.name for p in tmp_path.iterdir()] == ["set.parquet"]


def test_a_damaged_part_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    fill(open_writer(path), range(8))
    part = tmp_path / "set.parquet.parts" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-000001\.parquet.*remove it to go on"):
        open_writer(path, resume=True)


KILLED = """
import sys
from pathlib import Path
from tests.parts.codec.test_writer import fill, open_writer
writer = open_writer(Path(sys.argv[1]), resume=True)
for i in range(10_000):
    fill(writer, range(i, i + 1))
    if i == 30:
        print("started", flush=True)
writer.finish()
"""


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    command = [sys.executable, "-c", KILLED, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    writer = open_writer(path, resume=True)
    assert len(writer.done) >= 28
    count = len(writer.done) + 5
    fill(writer, range(count))
    writer.finish()
    assert content(path) == expected(count)


def test_what_does_not_fit_the_set_is_refused(tmp_path: Path) -> None:
    writer = TokenSetWriter(
        tmp_path / "a.parquet", name="toy", fingerprint=FINGERPRINT, codebook=(64000,), layout=((2, 2),)
    )
    writer.append(["a"], row(1), [(16, 16)])
    cases = [
        (["a"], row(1), "already has a row with the key 'a'"),
        (["b"], row(0), "the set has the layout"),
        (["b", "c"], row(1), "2 values for 1 samples"),
        (["b"], Tokens(row(1).data, ((2, 2),), (100,)), "codebook"),
        (["b"], Tokens(row(1).data - 64000, ((2, 2),), (64000,)), "outside the codebook"),
        (["b"], Tokens(None, ((2, 2),), latents=torch.zeros(1, 4, 2)), "continuous"),
    ]
    for keys, tokens, message in cases:
        with pytest.raises(UsageError, match=message):
            writer.append(keys, tokens, [(16, 16)])
    assert len(TokenSet(writer.finish())) == 1


@pytest.mark.parametrize("change", [{"fingerprint": "xyz"}, {"codebook": ()}, {"codebook": (1,)}, {"layout": ((0,),)}])
def test_an_impossible_description_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    facts = {"name": "toy", "fingerprint": FINGERPRINT, "codebook": (8,), "layout": ((4,),), **change}
    with pytest.raises(UsageError):
        TokenSetWriter(tmp_path / "a.parquet", **facts)  # type: ignore[arg-type]


def test_nothing_to_write_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one row"):
        open_writer(tmp_path / "a.parquet").finish()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "no" / "a.parquet")
    with pytest.raises(ZelligeError, match="cannot write") as caught:
        fill(writer, range(4))
    assert caught.value.exit_code == 1
    with pytest.raises(ZelligeError, match="is a folder"):
        open_writer(tmp_path)


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.parquet"
    writer = open_writer(path)
    fill(writer, range(4))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("zellige.codec.writer.arrow_table", full)
        with pytest.raises(ZelligeError, match="no space left on device"):
            fill(writer, range(4, 8))
    assert [p.name for p in (tmp_path / "set.parquet.parts").iterdir()] == ["part-000000.parquet"]
    writer = open_writer(path, resume=True)
    fill(writer, range(8))
    writer.finish()
    assert content(path) == expected(8)
