"""pFID of a pass: what it is by hand, what it does not depend on, how often networks run, stored tokens."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import zellige
from tests.contract.tiny import TINY
from tests.parts.evaluate.conftest import BlockMean, BlockMeanConfig, Blur, draw
from tests.parts.evaluate.test_report import Page
from zellige.codec import TokenSet, TokenSetWriter
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.pixels import from_uint8
from zellige.core.tiling import encode_image, encode_image_latents
from zellige.data import open_images
from zellige.evaluate import EvalResult, evaluate, table, write_json, write_report
from zellige.evaluate.pfid import cell_draws
from zellige.evaluate.table import robustness_table
from zellige.latent.perturb import perturb_ids
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import ImageFeatures
from zellige.metrics.perturbed import Cell, PerturbationGrid

GRID = PerturbationGrid(alphas=(0.5, 0.9), deltas=(2, 8))
CODE = replace(GRID, around="code")


@pytest.fixture
def vq() -> Tokenizer:
    torch.manual_seed(0)
    model = zellige.build("vqgan/f16", **TINY["vqgan"])
    assert isinstance(model, Tokenizer)
    return model.eval()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six images of two sizes."""
    (tmp_path / "pictures").mkdir()
    for i, (height, width) in enumerate([(32, 32), (33, 50), (32, 32), (33, 50), (32, 32), (32, 32)]):
        Image.fromarray(draw(height, width, i)).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path / "pictures"


def features() -> FeatureDistances:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(3, 4, 5)
    return FeatureDistances(ImageFeatures("tiny", 4, conv, lambda x: conv(x).amax((2, 3)), lambda x: x, "native size"))


def measure(tokenizer: Tokenizer, source: Path, grid: PerturbationGrid = GRID, **options: Any) -> EvalResult:
    return evaluate(tokenizer, source, names=["psnr"], metrics=[features()], grid=grid, codecs=False, **options)


def cells(result: EvalResult) -> dict[Cell, float]:
    assert result.robustness
    return {Cell(c.alpha, c.delta): c.distance.value for c in result.robustness.cells}


@pytest.mark.parametrize("grid", [GRID, CODE], ids=["feature", "code"])
def test_it_is_the_mean_distance_of_images_perturbed_one_by_one(
    vq: Tokenizer, pictures: Path, grid: PerturbationGrid
) -> None:
    result = measure(vq, pictures, grid, batch_size=1)
    expected = {}
    for cell in grid.cells(vq.codebook):
        metric = features()
        for number, record in enumerate(open_images(str(pictures))):
            x = from_uint8(record.image)
            z, tokens = vq.encode_latents(x)
            assert tokens.ids is not None
            query = z if grid.around == "feature" else tokens.ids
            draws = cell_draws(tokens.ids, [number], cell, grid.seed)
            ids = perturb_ids(vq.quantizer, query, tokens.ids, alpha=cell.alpha, delta=cell.delta, draws=draws)
            y = vq.decode(replace(tokens, ids=ids))
            metric.update(x, y[..., : record.height, : record.width])
        expected[cell] = metric.compute()[0].value
    assert cells(result) == pytest.approx(expected, rel=1e-9)
    assert result["pfd_tiny"].value == pytest.approx(sum(expected.values()) / 4, rel=1e-9)
    assert result["pfd_tiny"].protocol.conditions == grid.describe()
    assert result.robustness
    assert result.robustness.clean == result["fd_tiny"]


def test_a_cell_depends_on_seed_and_strength_alone(vq: Tokenizer, pictures: Path) -> None:
    result = measure(vq, pictures, batch_size=1)
    together = measure(vq, pictures, batch_size=8)
    found = cells(result)
    assert cells(together) == pytest.approx(found, rel=2e-3)  # a batch may round a pixel the other way
    assert result.robustness
    assert together.robustness
    changed = [cell.changed for cell in result.robustness.cells]
    assert [cell.changed for cell in together.robustness.cells] == changed
    one = cells(measure(vq, pictures, PerturbationGrid(alphas=(0.9,), deltas=(8,)), batch_size=1))
    assert one[Cell(0.9, 8)] == found[Cell(0.9, 8)]
    other = cells(measure(vq, pictures, replace(GRID, seed=1), batch_size=1))
    assert all(other[cell] != found[cell] for cell in found)


def test_draws_of_an_image_are_its_own() -> None:
    ids = torch.zeros(3, 50, 2, dtype=torch.int64)
    p, j = cell_draws(ids, [4, 5, 6], Cell(0.5, 8), seed=0)
    assert p.shape == j.shape == ids.shape
    alone = cell_draws(ids[:1], [5], Cell(0.5, 8), seed=0)
    assert torch.equal(p[1:2], alone[0])
    assert torch.equal(j[1:2], alone[1])
    assert not torch.equal(p[0], p[1])
    assert not torch.equal(p, cell_draws(ids, [4, 5, 6], Cell(0.6, 8), seed=0)[0])
    assert (j.min(), j.max()) == (0, 7)


def test_nothing_perturbed_is_the_clean_distance(vq: Tokenizer, pictures: Path) -> None:
    result = measure(vq, pictures, PerturbationGrid(alphas=(0.0, 1.0), deltas=(1,)))
    assert result.robustness
    assert [cell.changed for cell in result.robustness.cells] == [0.0, 0.0]
    assert list(cells(result).values()) == pytest.approx([result["fd_tiny"].value] * 2, rel=1e-9)


def test_the_share_of_changed_tokens_is_the_expected_one(vq: Tokenizer, pictures: Path) -> None:
    result = measure(vq, pictures)
    assert result.robustness
    for cell in result.robustness.cells:
        assert cell.changed == pytest.approx(cell.alpha * (1 - 1 / cell.delta), abs=0.07)


def test_the_encoder_runs_once_an_image_and_the_decoder_once_a_cell(vq: Tokenizer, pictures: Path) -> None:
    seen = {"encoder": 0, "decoder": 0}

    def count(name: str) -> Callable[[torch.nn.Module, tuple[Tensor, ...], object], None]:
        def hook(_: torch.nn.Module, inputs: tuple[Tensor, ...], __: object) -> None:
            seen[name] += len(inputs[0])

        return hook

    for name in seen:
        vq.get_submodule(name).register_forward_hook(count(name))
    result = measure(vq, pictures, batch_size=1)
    assert seen == {"encoder": 6 + 1, "decoder": 6 * 5 + 1}  # one more to warm up
    assert result.robustness
    assert result.robustness.clean_seconds > 0
    assert result.robustness.cells_seconds > 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vqgan", {"quantizer": "fsq", "quantizer_settings": {"levels": [5, 5, 5, 5]}}),
        ("vqgan", {"quantizer": "lfq", "quantizer_settings": {}}),
        ("vqgan", {"quantizer": "product", "quantizer_settings": {"of": "vq", "groups": 2, "codes": 16}}),
        ("vqgan", {"quantizer": "residual", "quantizer_settings": {"of": "vq", "depth": 2, "codes": 16}}),
        ("var-vq", {}),
        ("robusttok", {}),
        ("robusttok", {"branches": 2}),
    ],
    ids=["fsq", "lfq", "product", "residual", "multi-scale", "vit", "vit, two branches"],
)
def test_it_is_there_for_every_kind_of_quantizer(name: str, settings: dict[str, object], pictures: Path) -> None:
    torch.manual_seed(0)
    model = zellige.build(name, **{**TINY[name], **settings}).eval()
    assert isinstance(model, Tokenizer)
    size = model.image_size or (8 if name == "var-vq" else None)
    found = measure(model, pictures, size=size).robustness
    assert found
    for cell in found.cells:
        assert cell.changed == pytest.approx(cell.alpha * (1 - 1 / cell.delta), abs=0.16)
    assert len({cell.distance.value for cell in found.cells}) == 4


def test_what_has_no_tokens_to_perturb_is_refused(vq: Tokenizer, pictures: Path) -> None:
    with pytest.raises(UsageError, match="block-mean has continuous latents"):
        measure(Blur(BlockMeanConfig()), pictures)
    with pytest.raises(UsageError, match="neighbours of codes, and block-mean has none"):
        measure(BlockMean(BlockMeanConfig()), pictures)
    with pytest.raises(UsageError, match="delta 33 of pFID exceeds the codebook of 32 codes"):
        measure(vq, pictures, PerturbationGrid(deltas=(2, 33)))
    with pytest.raises(UsageError, match="a grid is for pFID"):
        evaluate(vq, pictures, grid=GRID, codecs=False)


def test_few_images_are_warned_of_and_one_is_too_few(vq: Tokenizer, pictures: Path) -> None:
    few = measure(vq, pictures, limit=4).robustness
    assert few
    assert "pFD-tiny over 4 images, fewer than the 5 that a covariance of 4 features needs" in few.warning
    enough = measure(vq, pictures, limit=5).robustness
    assert enough
    assert enough.warning == ""
    alone = measure(vq, pictures, limit=1)
    assert alone.robustness is None
    assert "2 or more images" in dict(alone.unmeasured)["pFD-tiny"]


@pytest.fixture
def stored(vq: Tokenizer, pictures: Path, tmp_path: Path) -> TokenSet:
    """Tokens of all pictures but one, squares of 32 pixels, and of one that is gone."""
    from zellige.data.transforms import center_crop_adm

    path = tmp_path / "set.parquet"
    writer = TokenSetWriter(path, name=vq.name, fingerprint=vq.fingerprint(), codebook=vq.codebook)
    for record in open_images(str(pictures)):
        key = "gone.png" if record.key == "3.png" else record.key
        writer.append([key], vq.encode(from_uint8(center_crop_adm(record.image, 32))), [(32, 32)])
    writer.finish()
    return TokenSet(path)


def test_stored_tokens_give_what_encoding_anew_gives(
    vq: Tokenizer, pictures: Path, stored: TokenSet, tmp_path: Path
) -> None:
    found = measure(vq, pictures, CODE, stored=stored)
    assert found.count == 5
    assert [key for key, _ in found.skipped] == ["3.png"]
    assert found["psnr"].protocol.resize == "short side to 32, centre crop (ADM)"
    assert not any("encode" in m.protocol.metric for m in found.measurements)
    (pictures / "3.png").unlink()
    again = measure(vq, pictures, CODE, size=32)
    assert cells(found) == pytest.approx(cells(again), rel=1e-6)
    assert found["psnr"].value == pytest.approx(again["psnr"].value)


def test_stored_tokens_have_no_latents_and_need_their_images(
    vq: Tokenizer, pictures: Path, stored: TokenSet, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="ask for around code"):
        measure(vq, pictures, GRID, stored=stored)
    (tmp_path / "others").mkdir()
    Image.fromarray(draw(32, 32, 0)).save(tmp_path / "others" / "x.png")
    with pytest.raises(UsageError, match=r"no image of .*others has its tokens in .*holds tokens of '0.png'"):
        measure(vq, tmp_path / "others", CODE, stored=stored)


def test_latents_of_large_images_come_in_tiles_and_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    model = zellige.build("zellige-photo", **TINY["zellige-photo"]).eval()
    assert isinstance(model, Tokenizer)
    x = torch.rand(1, 3, 160, 200) * 2 - 1
    whole, tokens = model.encode_latents(x)
    z, tiled = encode_image_latents(model, x, tile=64, whole=1)
    assert torch.allclose(z, whole, atol=1e-5)
    assert tiled.layout == tokens.layout
    assert torch.equal(tiled.data, encode_image(model, x, tile=64, whole=1).data)


def test_the_page_and_the_terminal_show_every_cell(vq: Tokenizer, pictures: Path, tmp_path: Path) -> None:
    from rich.console import Console

    result = measure(vq, pictures, limit=3)
    write_report(result, tmp_path / "report.html")
    write_json(result, tmp_path / "result.json")
    text = (tmp_path / "report.html").read_text("utf-8")
    Page(text)
    assert result.robustness
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(result))
    console.print(robustness_table(result.robustness))
    shown = console.export_text()
    for cell in result.robustness.cells:
        assert f">{cell.distance.value:.4f}</td>" in text
        assert f"{cell.distance.value:.4f}" in shown
    for words in ("seed 0", "around the feature", "0, clean", "times the"):
        assert words in text
        assert words in shown
    assert result.robustness.warning in text
    assert '"around": "feature"' in (tmp_path / "result.json").read_text("utf-8")
