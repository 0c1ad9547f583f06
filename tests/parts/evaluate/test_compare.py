"""Two evaluations side by side: what was measured alike, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.parts.evaluate.conftest import BlockMean, BlockMeanConfig
from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.evaluate import compare, evaluate, write_json
from zellige.evaluate.compare import read_measurements


def test_results_and_files_compare_alike(photos: Path, tmp_path: Path) -> None:
    coarse, fine = (evaluate(BlockMean(BlockMeanConfig(levels=n)), photos, codecs=False) for n in (4, 16))
    write_json(coarse, tmp_path / "coarse.json")
    found = {d.first.protocol.key: d for d in compare(tmp_path / "coarse.json", fine)}
    assert found["psnr"].change == pytest.approx(fine["psnr"].value - coarse["psnr"].value)
    assert found["psnr"].change > 0
    assert found["bits_per_pixel/fixed_length"].change == pytest.approx(
        fine["bits_per_pixel/fixed_length"].value * (1 - 6 / 12)
    )
    assert "codebook_usage" not in found  # of 64 codes in one, of 4,096 in the other
    assert {d.change for d in compare(coarse, tmp_path / "coarse.json")} == {0.0}


def test_unlike_protocols_are_refused_in_one_line(tokenizer: BlockMean, photos: Path) -> None:
    saved, decoded = (evaluate(tokenizer, photos, rounding=r, codecs=False) for r in ("uint8", "float"))
    with pytest.raises(ZelligeError, match="rounding is 'uint8' in one and 'float'") as caught:
        compare(saved, decoded)
    assert "\n" not in str(caught.value)
    with pytest.raises(ZelligeError, match="samples is '5' in one and '3'"):
        compare(saved, evaluate(tokenizer, photos, limit=3, codecs=False))


def test_nothing_in_common_is_refused(tokenizer: BlockMean, photos: Path) -> None:
    result = evaluate(tokenizer, photos, codecs=False)
    with pytest.raises(ZelligeError, match="no figure in common"):
        compare(result, replace(result, measurements=()))


def test_infinite_figures_survive_the_file(tokenizer: BlockMean, photos: Path, tmp_path: Path) -> None:
    result = evaluate(tokenizer, photos, codecs=False)
    infinite = replace(result, measurements=(replace(result["psnr"], value=float("inf"), spread=None),))
    write_json(infinite, tmp_path / "result.json")
    assert read_measurements(tmp_path / "result.json") == infinite.measurements


def test_a_missing_file_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.json"):
        read_measurements(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "[" * 100_000,
        '{"measurements": 3}',
        '{"measurements": ["x"]}',
        '{"measurements": [{"protocol": null}]}',
        json.dumps({"measurements": [{"protocol": {"metric": "PSNR"}, "value": 1, "spread": None}]}),
        "\udcff",
    ],
)
def test_other_files_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"x\.json") as caught:
        read_measurements(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
