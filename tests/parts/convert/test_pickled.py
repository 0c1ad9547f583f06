"""Torch files with other objects in them: their tensors come back, and nothing is executed."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zellige.convert.checkpoint import read_checkpoint
from zellige.convert.pickled import UNKNOWN, interpret
from zellige.core.errors import DataError


class Sequence(list):  # type: ignore[type-arg]
    """As ruamel.yaml keeps sequences."""


class Table(dict):  # type: ignore[type-arg]
    """As ruamel.yaml keeps mappings."""


class Number(float):
    """As ruamel.yaml keeps numbers."""


class Armed:
    """Whatever reads it, instead of reading about it, fails the test."""

    def __setstate__(self, state: object) -> None:
        raise AssertionError("executed")


class Call:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def weights() -> OrderedDict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(40, generator=generator)
    state = OrderedDict(
        transposed=torch.randn(3, 4, generator=generator).t(),
        integers=torch.arange(5),
        half=nn.Parameter(torch.randn(2, 2, generator=generator).half()),
        view=whole[10:20],
        strided=whole[::3],
        empty=torch.zeros(0, 3),
        scalar=torch.tensor(2.5),
    )
    state._metadata = OrderedDict(version=1)  # type: ignore[attr-defined]
    return state


def test_tensors_come_back_from_among_objects(tmp_path: Path) -> None:
    state = weights()
    arguments = argparse.Namespace(
        lr=Number(3e-5),
        scales=Sequence([1, Table(a=2)]),
        table=Table(b=Sequence([Armed()])),
        folder=tmp_path,
        kinds={1, 2},
    )
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": Number(1.0)}]}
    zeros = {key: torch.zeros_like(value) for key, value in state.items()}
    torch.save({"ema": state, "model": zeros, "args": arguments, "optimizer": optimizer, "steps": 3}, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt")
    assert list(read) == list(state)
    for key, value in state.items():
        assert torch.equal(read[key], value)
        assert read[key].dtype == value.dtype


def test_calls_in_a_file_are_not_made(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = [Call(os.mkdir, str(trace)), Call(eval, f"open({str(trace)!r}, 'w')"), Call(exec, "raise SystemExit")]
    torch.save({"model": weights(), "args": calls}, tmp_path / "x.pt")
    assert torch.equal(read_checkpoint(tmp_path / "x.pt")["integers"], torch.arange(5))
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read_on_paper(protocol: int) -> None:
    content = {"a": [1, 2.5, None, True], "b": ("x", b"y"), "c": Armed(), "d": {"e": {}}, 7: Call(os.getcwd)}
    read = interpret(pickle.dumps(content, protocol))
    assert (read["a"], read["b"][0], read["d"]) == (content["a"], "x", content["d"])
    assert read["c"] is UNKNOWN
    assert read[7] is UNKNOWN


def repacked(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The archive with its records changed, stored as torch stores them."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(path.with_name("y.pt"), "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return path.with_name("y.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: data[: len(data) // 2] if name.endswith("data.pkl") else data,
        lambda name, data: data[:4] if "/data/" in name else data,
        lambda name, data: b"big" if name.endswith("byteorder") else data,
        lambda name, data: b"\x80\x02}q\x00." if name.endswith("data.pkl") else data,
        lambda name, data: b"\x80\x02(." if name.endswith("data.pkl") else data,
        lambda name, data: b"\x80\x02R." if name.endswith("data.pkl") else data,
    ],
)
def test_damage_is_a_data_error(change: Callable[[str, bytes], bytes], tmp_path: Path) -> None:
    torch.save({"model": weights(), "args": Armed()}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"y\.pt"):
        read_checkpoint(repacked(tmp_path / "x.pt", change))


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    torch.save({"model": {"x": torch.arange(4.0)}, "args": Armed()}, tmp_path / "x.pt")
    grow = lambda name, data: data.replace(b"K\x04\x85", b"K\x05\x85") if name.endswith("data.pkl") else data  # noqa: E731
    with pytest.raises(DataError, match=r"y\.pt"):
        read_checkpoint(repacked(tmp_path / "x.pt", grow))


def test_claimed_sizes_are_not_trusted(tmp_path: Path) -> None:
    torch.save({"model": {"x": torch.zeros(1).expand(10**9, 4)}, "args": Armed()}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="larger than the file"):
        read_checkpoint(tmp_path / "x.pt")
