"""Tokenizers side by side: one table, the best of a row, who cannot be compared, and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.parts.evaluate.conftest import BlockMean, BlockMeanConfig, Blur
from tests.parts.evaluate.test_report import Page
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError
from zellige.evaluate import evaluate
from zellige.evaluate.lineup import Lineup, Row, check_lineup, line_up, write_lineup
from zellige.evaluate.lineup_report import lineup_html, write_lineup_report
from zellige.evaluate.table import lineup_table
from zellige.metrics.perturbed import PerturbationGrid


def block(levels: int, size: int | None = None, kind: type[BlockMean] = BlockMean, offset: float = 0.0) -> BlockMean:
    model = kind(BlockMeanConfig(levels, size))
    with torch.no_grad():
        model.offset.fill_(offset)  # which only tells weights apart
    return model


@pytest.fixture
def lineup(photos: Path) -> Lineup:
    models = {"coarse": block(4), "<fine>": block(16, offset=1), "blur": block(8, kind=Blur, offset=2)}
    results = [evaluate(model, photos, codecs=False) for model in models.values()]
    return line_up([*models], results, "zellige eval --compare")


def row(found: Lineup, title: str) -> Row:
    return next(each for each in found.rows if each.title == title)


def test_every_figure_stands_beside_those_of_the_others(lineup: Lineup) -> None:
    psnr = row(lineup, "PSNR")
    assert psnr.values == tuple(result["psnr"].value for result in lineup.results)
    assert psnr.best == (False, False, True)
    assert "data range: [0, 1]" in psnr.how
    rate = row(lineup, "bits per pixel, fixed length")
    assert rate.values[2] is None  # continuous
    assert rate.values[1] == lineup.results[1]["bits_per_pixel/fixed_length"].value
    assert rate.best == (False, False, False)
    used = row(lineup, "codes in use")
    assert used.values[0] == lineup.results[0]["codebook_usage"].value
    assert [r.title for r in lineup.rows][-3:] == ["decode speed, images/s", "decode speed, MP/s", "parameters"]


def test_the_best_is_the_lowest_where_lower_is_better() -> None:
    assert Row("LPIPS", "", (0.2, None, 0.1), "lower").best == (False, False, True)
    assert Row("PSNR", "dB", (None, 3.0), "higher").best == (False, False)
    assert Row("PSNR", "dB", (3.0, 3.0), "higher").best == (True, True)


def test_unlike_measurements_do_not_stand_in_one_row(photos: Path) -> None:
    results = [evaluate(block(4), photos, codecs=False, limit=n) for n in (2, 3)]
    with pytest.raises(ZelligeError, match="samples is '2' in one and '3'"):
        line_up(["a", "b"], results)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([block(4)], "two or more"),
        ([block(4), block(4)], "'m0' and 'm1' cannot be compared: they are the same weights"),
        ([block(4, 32), block(4, 64, offset=1)], "they take 32×32 and 64×64 images"),
        ([block(4), block(4, kind=Blur, offset=1)], "'m0' cannot be compared by pFID: .*neighbours"),
        ([block(4, kind=Blur), block(4, offset=1)], "'m0' cannot be compared by pFID: .*continuous latents"),
    ],
    ids=["one", "same", "sizes", "no quantizer", "continuous"],
)
def test_who_cannot_be_compared(models: Sequence[Tokenizer], words: str) -> None:
    labels = [f"m{i}" for i in range(len(models))]
    with pytest.raises(UsageError, match=words) as caught:
        check_lineup(models, labels, PerturbationGrid())
    assert "\n" not in str(caught.value)


def test_all_see_what_the_choosiest_takes() -> None:
    assert check_lineup([block(4), block(4, 32, offset=1)], ["a", "b"], None) == 32
    assert check_lineup([block(4), block(4, offset=1)], ["a", "b"], None) is None


def test_the_page_nests_and_shows_the_same_crops(lineup: Lineup, tmp_path: Path) -> None:
    write_lineup_report(lineup, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.tags.count("img") == len(lineup.results[0].examples) * 4  # the original, three tokenizers
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert "&lt;fine&gt;" in text
    assert "<fine>" not in text
    assert text == lineup_html(lineup)
    assert ">PSNR, dB</text>" in text


def test_the_json_has_the_table_and_all_results(lineup: Lineup, tmp_path: Path) -> None:
    write_lineup(lineup, tmp_path / "result.json")
    found = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert found["tokenizers"] == ["coarse", "<fine>", "blur"]
    assert found["table"][0]["values"] == list(lineup.rows[0].values)
    assert found["table"][0]["best"] == [False, False, True]
    assert [len(result["images"]) for result in found["results"]] == [5, 5, 5]


def test_the_terminal_has_one_table(lineup: Lineup) -> None:
    console = Console(width=160, record=True)
    console.print(lineup_table(lineup))
    shown = console.export_text()
    assert "PSNR ↑" in shown
    assert "<fine>" in shown
    assert "–" in shown
