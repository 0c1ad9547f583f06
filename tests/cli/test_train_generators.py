"""`zellige train SYSTEM/small tokens=…`: every generator of tokens has that recipe; and what is refused, and how."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import zellige as library
from tests.cli.conftest import Run
from tests.contract.tiny import TINY
from zellige.codec import TokenSetWriter
from zellige.codec.schema import TokenSetInfo, arrow_table, parquet_writer
from zellige.core.registry import cards, system_class
from zellige.core.tokens import Tokens
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import load_recipe

PRINT = "0" * 16
OFF = ("steps=2", "batch_size=3", "checkpoint_every=9", "log_every=1", "sample_every=0")
OF_TOKENS = ("enat", "llamagen", "maskgit", "rar", "titok-maskgit", "token-shuffle")
"""Systems of one code at each position, with classes."""


def write_set(path: Path, **changes: object) -> Path:
    """Nine rows of 2×4 codes, of three classes; `changes` are `codebook`, `layout`, `classes`, `fingerprint`."""
    settings: dict = {
        "codebook": (13,),
        "layout": ((2, 4),),
        "classes": [i % 3 for i in range(9)],
        "fingerprint": PRINT,
    }
    settings |= changes
    layout, codebook, labels = settings["layout"], settings["codebook"], settings["classes"]
    length = sum(torch.Size(block).numel() for block in layout)
    ids = torch.randint(min(codebook), (len(labels), length, len(codebook)), generator=torch.Generator().manual_seed(0))
    tokens = Tokens(ids.squeeze(-1) if len(codebook) == 1 else ids, layout, codebook)
    writer = TokenSetWriter(path, name="a/b", fingerprint=settings["fingerprint"], codebook=codebook)
    writer.append([str(i) for i in range(len(labels))], tokens, [(8, 8)] * len(labels), classes=labels)
    return writer.finish()


def tiny(system: str) -> list[str]:
    """Overrides of the recipe that make its generator tiny, but for what the tokens tell."""
    facts = ("layout", "codebook", "classes", "steps")
    return [f"config.{key}={yaml.safe_dump(list(v) if isinstance(v, tuple) else v).split(chr(10))[0]}"
            for key, v in TINY[system].items() if key not in facts]  # fmt: skip


@pytest.mark.parametrize("system", OF_TOKENS)
def test_every_generator_learns_from_a_token_set(system: str, zellige: Run, tmp_path: Path) -> None:
    tokens = write_set(tmp_path / "set.parquet")
    line = ("train", f"{system}/small", f"tokens={tokens}", *tiny(system), *OFF)
    zellige(*line, "-o", tmp_path / "run").done()
    trained = library.load(tmp_path / "run", kind=library.Generator)
    assert (trained.system, trained.classes, trained.config.fingerprint) == (system, 3, PRINT)
    assert trained.spec.layout == ((2, 4),)


def test_no_generator_is_without_a_small_recipe() -> None:
    for name, card in cards().items():
        if card.status == "available" and card.kind != "base" and issubclass(system_class(name), library.Generator):
            recipe = load_recipe(f"{name}/small")
            assert isinstance(recipe, GeneratorRecipe)
            assert recipe.generator == f"{name}/small"


@pytest.mark.parametrize(
    ("system", "changes", "words"),
    [
        ("llamagen", {"codebook": (5, 5)}, ("one code at each position", "use a tokenizer with one codebook")),
        ("maskgit", {"layout": ((1, 1), (2, 2))}, ("come in 2 blocks", "use var")),
        ("token-shuffle", {"layout": ((3, 3),)}, ("do not divide into windows", "set side=1")),
        ("llamagen", {"classes": [1] * 9}, ("are of one class", "condition=none")),
        ("enat", {"classes": [0, 1, None]}, ("rows without a class", "condition=none")),
    ],
)
def test_sets_that_a_generator_cannot_use(
    system: str, changes: dict, words: tuple[str, ...], zellige: Run, tmp_path: Path
) -> None:
    tokens = write_set(tmp_path / "set.parquet", **changes)
    line = ("train", f"{system}/small", f"tokens={tokens}", *tiny(system), *OFF, "-o", tmp_path / "run")
    zellige(*line).refused(2, *words)
    assert not (tmp_path / "run").exists()


def test_a_set_without_rows(zellige: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    info = TokenSetInfo("a/b", PRINT, (13,), ((2, 4),))
    with parquet_writer(path, info) as out:
        out.write_table(arrow_table([], info))
    zellige("train", "llamagen/small", f"tokens={path}", "-o", tmp_path / "run").refused(2, "empty.parquet is empty")


def test_a_set_of_another_tokenizer_or_of_another_vocabulary(zellige: Run, tokenizer: Path, tmp_path: Path) -> None:
    tokens = write_set(tmp_path / "set.parquet")
    line = ("train", "llamagen/small", *tiny("llamagen"), *OFF)
    another = ("holds tokens of a/b with weights 0000000000000000", "name the tokenizer that made the set")
    zellige(*line, f"tokens={tokens}", f"tokenizer={tokenizer}", "-o", tmp_path / "run").refused(2, *another)
    zellige(*line, f"tokens={tokens}", "-o", tmp_path / "run").done()
    again = ("train", "llamagen/small", f"generator={tmp_path / 'run'}", "start=trained", *OFF, "-o", tmp_path / "more")
    larger = write_set(tmp_path / "larger.parquet", codebook=(17,))
    zellige(*again, f"tokens={larger}").refused(2, "was built for", "start=fresh")
    others = write_set(tmp_path / "others.parquet", fingerprint="1" * 16)
    zellige(*again, f"tokens={others}").refused(2, "models tokens of a/b with weights 0000000000000000", "1111")
    more = write_set(tmp_path / "more.parquet", classes=[0, 1, 2, 3])
    zellige(*again, f"tokens={more}").refused(2, "has 3 classes; the tokens have 4")


def test_codes_where_latents_are_wanted(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    line = ("train", "xar/small", f"data.train=[{folder}]", "data.crop=16", f"tokenizer={tokenizer}", "condition=none")
    zellige(*line, *OFF, "-o", tmp_path / "run").refused(2, "models continuous latents", "such as kl-vae")
