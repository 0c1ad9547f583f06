"""The page: whole, self-contained, escaped; the terminal's table and the contact sheet."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from tests.parts.evaluate.conftest import BlockMean, BlockMeanConfig, Blur, draw, draw_photos
from zellige.core.errors import ZelligeError
from zellige.evaluate import contact_sheet, evaluate, table, write_report
from zellige.evaluate.figures import show
from zellige.evaluate.markup import Markup, h
from zellige.evaluate.result import EvalResult
from zellige.evaluate.svg import Axis, Series, plot, tick_label

HOSTILE = "<script>alert(1)<&\"'[bold]x.png"


class Page(HTMLParser):
    """Checks that tags nest, and collects what a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EvalResult:
    photos = draw_photos(tmp_path_factory.mktemp("report") / "photos")
    Image.fromarray(draw(24, 24, 9)).save(photos / HOSTILE)
    return evaluate(BlockMean(BlockMeanConfig()), photos, command='zellige eval "a <b>" photos')


def test_the_page_needs_nothing_else_and_nests(result: EvalResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    page = Page(text)
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert not re.search(r"@import|url\(|https?://", text)
    assert page.tags.count("script") == 1
    pictures = [link for link in page.links if link.startswith("data:")]
    assert len(pictures) == 3 * len(result.examples)
    first = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert first.size == (result.images[0].width, result.images[0].height)


def test_names_and_commands_are_escaped(result: EvalResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;&amp;" in text
    assert "zellige eval &quot;a &lt;b&gt;&quot; photos" in text


def test_it_tells_figures_protocols_skipped_files_and_the_machine(result: EvalResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    expected = [show(m.value, m.protocol.unit) for m in result.measurements]
    expected += [result.tokenizer.fingerprint, "CC0-1.0", "broken.jpg", "Gaussian 11×11", "difference × 4"]
    expected += ["JPEG", "WebP", "AVIF", result.environment["torch"], result.environment["date"]]
    assert [text_part for text_part in expected if text_part not in text] == []


def test_continuous_tokenizers_get_a_page_too(photos: Path, tmp_path: Path) -> None:
    write_report(evaluate(Blur(BlockMeanConfig()), photos), tmp_path / "report.html")
    assert "svg" in Page((tmp_path / "report.html").read_text("utf-8")).tags


def test_extreme_images_are_shown(tokenizer: BlockMean, tmp_path: Path) -> None:
    folder = tmp_path / "extreme"
    folder.mkdir()
    Image.new("RGB", (1, 1), "red").save(folder / "1.png")
    Image.new("RGB", (32, 32), "black").save(folder / "3.png")
    Image.new("RGB", (3000, 2), "blue").save(folder / "2.png")
    found = evaluate(tokenizer, folder)
    assert found.examples[1].original.shape == (1, 768, 3)
    write_report(found, tmp_path / "report.html")
    Page((tmp_path / "report.html").read_text("utf-8"))
    contact_sheet(found.examples, tmp_path / "sheet.png")


def test_a_report_that_cannot_be_written_leaves_nothing(result: EvalResult, tmp_path: Path) -> None:
    with pytest.raises(ZelligeError, match="does not exist"):
        write_report(result, tmp_path / "missing" / "report.html")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ZelligeError, match="folder"):
        write_report(result, tmp_path / "report.html")
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tmp"]


def test_the_table_of_the_terminal_has_a_row_a_figure(result: EvalResult) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(result))
    text = console.export_text()
    for m in result.measurements:
        assert m.protocol.title in text
        assert show(m.value, m.protocol.unit) in text


def test_the_contact_sheet_is_a_png_of_squares(result: EvalResult, tmp_path: Path) -> None:
    contact_sheet(result.examples, tmp_path / "sheet.png", side=64, title="block-mean")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 6 * 64
        assert sheet.height > len(result.examples) / 2 * 64


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (23.4149, "dB", "23.41 dB"),
        (float("inf"), "dB", "∞ dB"),
        (float("nan"), "", "–"),
        (0.831, "share", "83.1 %"),
        (2 / 2**36, "share", "0.00000000291 %"),
        (0.0, "share", "0 %"),
        (51234.4, "codes", "51,234 codes"),
        (26.28, "images/s", "26.3 images/s"),
        (0.25, "bpp", "0.2500 bpp"),
    ],
)
def test_numbers_have_units_and_sensible_digits(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text


def test_markup_escapes_text_and_leaves_markup() -> None:
    made = h("p", "a < b", [h("b", "&"), None], Markup("<i>x</i>"), class_="note", data_x='"', hidden=True, id=None)
    assert made == '<p class="note" data-x="&quot;" hidden>a &lt; b<b>&amp;</b><i>x</i></p>'


@pytest.mark.parametrize("axis", [Axis("x", 0.07, 2.3, log=True), Axis("x", 19.2, 37), Axis("x", 1, 64_000, log=True)])
def test_ticks_are_round_few_and_inside(axis: Axis) -> None:
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 10
    assert all(0 <= axis.place(t) <= 1 for t in ticks)
    assert all(len(tick_label(t)) <= 4 for t in ticks)


def test_labels_of_a_plot_do_not_cover_each_other() -> None:
    curves = [Series(f"curve {i}", f"c{i}", [(1, i * 0.01), (2, 1 + i * 0.01)]) for i in range(3)]
    svg = plot(curves, Axis("x", 1, 2), Axis("y", 0, 1.2), title="close curves")
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="name', svg)
    boxes = [(float(x), float(y)) for x, y in places]
    assert len(boxes) == 3
    apart = [
        abs(ay - by) >= 10 or abs(ax - bx) >= 8.8 * 7 for ax, ay in boxes for bx, by in boxes if (ax, ay) != (bx, by)
    ]
    assert len(apart) == 6
    assert all(apart)
