"""Fitting tables: counts, smoothing, the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from zellige.codec import EntropyModel, TokenSetWriter
from zellige.codec.tables import digits_of, fit_tables, main
from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens

from .conftest import FINGERPRINT, RADICES


def test_an_unordered_code_gets_its_counts_plus_one_half() -> None:
    ids = torch.tensor([[0] * 60 + [1] * 20 + [2] * 15]).repeat(2, 1)
    counts = np.array([120, 40, 30] + [0] * 97)
    model = fit_tables([Tokens(ids, ((95,),), (100,))], [[100]], FINGERPRINT)
    expected = (counts + 0.5) / (counts + 0.5).sum()
    assert model.tables[0].shape == (1, 100)
    assert np.abs(model.tables[0][0] / 65536 - expected).max() < 2e-3
    assert model.tables[0].sum() == 65536


def test_a_context_never_seen_has_the_distribution_of_the_plane(tables: EntropyModel) -> None:
    """Random ids in a sequence have no neighbours: only the first table of each plane is counted."""
    ids = torch.from_numpy(np.random.default_rng(0).binomial(7, 0.3, (50, 40)))
    model = fit_tables([Tokens(ids, ((8, 5),), (8,))], [[8]], FINGERPRINT)
    unseen = model.tables[0][-1].astype(float)
    overall = np.bincount(ids.reshape(-1), minlength=8) + 0.5
    assert np.abs(unseen / 65536 - overall / overall.sum()).max() < 1e-3


def test_tables_of_smooth_tokens_predict_the_mean_of_the_neighbours(tables: EntropyModel) -> None:
    """Distance 1, straight neighbours that all have the digit 4: 4 is the likeliest."""
    context = 1 + ((1 * 15 + 8) * 4 + 0) * 4
    assert tables.tables[0][context].argmax() == 4


def test_radices_must_make_up_the_codebook(smooth_tokens: Callable[..., Tokens]) -> None:
    with pytest.raises(UsageError, match=r"make the codebook \(64,\)"):
        fit_tables([smooth_tokens(0, 4, 4)], [[8, 8]])


class Toy:
    """What `zellige.load` gives for the folder in these tests: weights and a quantizer."""

    def __init__(self, codebook: tuple[int, ...] = (64000,), **parts: object) -> None:
        self.codebook = codebook
        self.quantizer = SimpleNamespace(**parts)

    def fingerprint(self) -> str:
        return FINGERPRINT


def test_the_command_writes_the_tables(
    smooth_tokens: Callable[..., Tokens],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = TokenSetWriter(tmp_path / "set.parquet", name="toy/f8", fingerprint=FINGERPRINT, codebook=(64000,))
    writer.append(["a", "b"], smooth_tokens(0, 8, 8, 2), [(64, 64)] * 2)
    writer.append(["c"], smooth_tokens(1, 6, 9), [(72, 48)])
    writer.finish()
    monkeypatch.setattr("zellige.core.hub.load", lambda name: Toy(levels=RADICES))
    assert main([str(tmp_path / "set.parquet"), str(tmp_path)]) == 0
    model = EntropyModel.load(tmp_path)
    assert (model.tokenizer, model.fingerprint, model.radices) == ("toy/f8", FINGERPRINT, (RADICES,))
    batches = [smooth_tokens(0, 8, 8, 2), smooth_tokens(1, 6, 9)]
    assert model.identity == fit_tables(batches, [RADICES], FINGERPRINT).identity
    assert capsys.readouterr().out.strip() == str(tmp_path / "tables.safetensors")


@pytest.mark.parametrize(
    ("toy", "digits"),
    [(Toy(levels=(8, 5)), [[8, 5]]), (Toy((1000, 512)), [[1000], [512]]), (Toy((1 << 18,)), [[2] * 18])],
)
def test_digits_follow_from_the_quantizer(
    toy: Toy, digits: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zellige.core.hub.load", lambda name: toy)
    assert digits_of(tmp_path, FINGERPRINT) == digits
    with pytest.raises(UsageError, match="not with those in"):
        digits_of(tmp_path, "f" * 16)


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing.parquet"), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
