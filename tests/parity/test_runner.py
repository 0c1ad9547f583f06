"""The runner itself: it must not pass what it did not check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.__main__ import main
from tests.parity.case import Case, subsamples
from tests.parity.draw import draw, official_state
from tests.parity.runner import run


def save(path: Path, meta: dict, **arrays: np.ndarray) -> Path:
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)
    return path


def test_draw_depends_on_the_name_and_its_last_part() -> None:
    assert draw("a.weight", (64,)).mean() == pytest.approx(1, abs=0.02)
    assert draw("a.bias", (64,)).mean() == pytest.approx(0, abs=0.02)
    assert draw("a.weight", (64, 4, 3, 3)).std() == pytest.approx(1 / 6, rel=0.1)
    assert draw("a.weight", ()) == 1
    assert torch.equal(draw("a.weight", (3, 2)), draw("a.weight", (3, 2)))
    assert not torch.equal(draw("a.weight", (3, 2)), draw("b.weight", (3, 2)))


def test_official_state_follows_the_meta() -> None:
    keys = {"pos": [1, 4], "w": [4, 4], "b": [4], "buffer": [2]}
    state = official_state(keys, {"scale": {"pos": 3.0}, "gain": 2.0, "kept_buffers": ["buffer"]})
    assert set(state) == {"pos", "w", "b"}
    assert torch.equal(state["pos"], draw("pos", (1, 4)) * 6)
    assert torch.equal(state["b"], draw("b", (4,)))


def test_subsamples_are_the_steps_that_give_the_shape() -> None:
    x = np.arange(10 * 12).reshape(10, 12)
    assert [s.tolist() for s in subsamples(x, (4, 12))] == [x[::3].tolist()]
    assert [s.tolist() for s in subsamples(x, (10, 2))] == [x[:, ::n].tolist() for n in range(6, 12)]
    assert not list(subsamples(x, (7, 12)))
    assert not list(subsamples(x, (11, 12)))
    assert [s.tolist() for s in subsamples(x, (120,))] == [x.ravel().tolist()]


def test_ids_are_compared_where_the_margin_is_clear() -> None:
    case = Case({}, {"indices": np.array([1, 2, 3]), "margin": np.array([1.0, 1e-5, 1.0])})
    case.check_ids("indices", torch.tensor([[1, 7, 3]]))
    case.close()
    assert case.ok
    case.check_ids("indices", torch.tensor([[1, 7, 4]]))
    assert not case.ok


@pytest.mark.parametrize("got", [torch.tensor([1.0, 2.1]), torch.tensor([1.0, torch.nan]), torch.zeros(3)])
def test_a_wrong_value_or_shape_fails(got: torch.Tensor) -> None:
    case = Case({}, {"y": np.array([1.0, 2.0])})
    case.check("y", got)
    assert not case.ok


def test_an_array_that_nobody_checked_fails() -> None:
    case = Case({}, {"y": np.ones(2), "forgotten": np.ones(2)})
    case.check("y", torch.ones(2))
    assert case.ok
    case.close()
    assert not case.ok


def test_cases_without_handler_and_damaged_files_count_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = save(tmp_path / "unknown.npz", {"system": "s", "official": "a.b:C", "config": {}}, y=np.ones(2))
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\x03\x04")
    assert not run(unknown)[0]
    assert "a.b:C" in run(unknown)[1][0].text
    assert main([str(unknown), str(damaged), str(tmp_path / "missing.npz")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 3 failed"
