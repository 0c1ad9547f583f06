"""`zellige generate --text`, by a MaskGen that is trained here on the tokens of captioned images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import zellige as library
from tests.cli.conftest import Run
from tests.cli.test_generate import pictures, same
from tests.clip import DIM, LENGTH, save_clip
from tests.contract.tiny import TINY
from zellige.codec import TokenSetWriter
from zellige.core.hub import WEIGHTS, write_model
from zellige.core.tokens import Tokens
from zellige.encoders.text import TextEncoder
from zellige.generate.images import ImageGenerator
from zellige.systems.maskgen import MaskGen

TINY_MASKGEN = ("config.dim=16", "config.depth=2", "config.heads=2", "config.hidden=32", "config.score_waves=4",
                f"config.text_tokens={LENGTH}", "config.steps=3")  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    """Six rows of 3×3 tokens with texts."""
    model = library.load(tokenizer, kind=library.Tokenizer)
    ids = torch.randint(model.codebook[0], (6, 9), generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("set") / "set.parquet"
    writer = TokenSetWriter(path, name=model.name, fingerprint=model.fingerprint(), codebook=model.codebook)
    keys, texts = list("012345"), ["a", "b", "c", "ab", "bc", "abc"]
    writer.append(keys, Tokens(ids, ((3, 3),), model.codebook), [(12, 12)] * 6, texts=texts)
    return writer.finish()


def test_training_and_drawing(zellige: Run, tokens: Path, tokenizer: Path, clip: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = ("train", "maskgen/small", f"tokens={tokens}", f"tokenizer={tokenizer}", f"text_encoder={clip}")
    zellige(*line, *TINY_MASKGEN, "steps=2", "batch_size=3", "checkpoint_every=9", "sample_every=2", "-o", run).done()
    assert (run / "samples" / "step-000002.png").is_file()
    trained = library.load(run, kind=MaskGen)
    assert (trained.text_dim, trained.config.text_encoder) == (DIM, str(clip))
    encoder = TextEncoder.load(str(clip))
    encoder.read_for("maskgen", trained.reading())
    assert torch.equal(trained.null, encoder([""]).features[0])  # the empty text stands for none

    draw = ("generate", run, "-n", 3, "--seed", 4, "--guidance", 2)
    found = zellige(*draw, "-o", tmp_path / "a", "--text", "ab", "--text", "c", "--json").done()
    record = json.loads(found.out)
    assert [row["text"] for row in record["images"]] == ["ab", "c", "ab"]
    assert record["text_encoder"] == str(clip)
    zellige(*draw, "-o", tmp_path / "b", "--text", "ab", "--text", "c", "-b", 1).done()
    assert same(pictures(tmp_path / "a"), pictures(tmp_path / "b"))
    zellige(*draw, "-o", tmp_path / "c", "--class", 1).refused(2, "takes no class but a text, see --text")


def test_what_texts_need(
    zellige: Run, tokens: Path, tokenizer: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = library.load(tokenizer, kind=library.Tokenizer)
    sizes = {**TINY["maskgen"], "layout": ((3, 3),), "codebook": decoder.codebook, "text_dim": DIM}
    model = library.build(
        "maskgen", **{**sizes, "text_tokens": LENGTH, "text_encoder": "", "fingerprint": decoder.fingerprint()}
    )
    for unknown in (model.null, model.null_pooled):
        unknown.fill_(torch.nan)  # as released weights come
    write_model(model, tmp_path / "model" / WEIGHTS)
    line = ("generate", tmp_path / "model", "-t", tokenizer, "-n", 1, "-o", tmp_path / "out")
    zellige(*line).refused(2, "draws from texts", "--text")
    zellige(*line, "--text", "a").refused(2, "which text encoder", "--text-encoder")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    nowhere = tmp_path / "nowhere"
    zellige(*line, "--text", "a", "--text-encoder", nowhere).refused(2, "no text encoder at", "name a folder")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "transformers", None)
        zellige(*line, "--text", "a", "--text-encoder", clip).refused(1, "pip install 'zellige[lm]'")
    assert not (tmp_path / "out").exists()
    zellige(*line, "--text", "a", "--text-encoder", clip).done()
    assert len(pictures(tmp_path / "out")) == 1


def test_a_decoder_that_reads_captions_gets_the_last_layer(clip: Path) -> None:
    settings = {**TINY["titok"], "head": "pixels", "caption": LENGTH, "caption_dim": DIM}
    tokenizer = library.build("titok", **settings).eval()
    spec = tokenizer.encode(torch.zeros(1, 3, 32, 32)).spec
    sizes = {**TINY["maskgen"], "text_dim": DIM, "text_tokens": LENGTH}
    generator = library.build("maskgen", **{**sizes, "layout": spec.layout, "codebook": spec.codebook}).eval()
    encoder = TextEncoder.load(str(clip))
    encoder.read_for("maskgen", generator.reading())
    texts = encoder(["ab", "c"])
    drawn = ImageGenerator(generator, tokenizer).draw(texts, [1, 2])
    tokens = generator.sample(texts, seed=[1, 2])
    with torch.inference_mode():
        assert torch.equal(drawn, tokenizer.decode(tokens, condition=texts.last))
        assert not torch.equal(drawn, tokenizer.decode(tokens, condition=texts.features))
