"""The tokenizer loop: it learns, and an interrupted run is the same run."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from zellige.core.contract import Tokenizer
from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.hub import load
from zellige.core.registry import build
from zellige.core.tensors import read_tensors, write_tensors
from zellige.quantize.vq import VectorQuantizer
from zellige.train import run
from zellige.train import tokenizer as loop
from zellige.train.checkpoint import CHECKPOINT, HEADER, checkpoint_tensors, load_checkpoint, save_checkpoint
from zellige.train.optim import learning_rate
from zellige.train.recipe import Recipe, load_recipe

TINY = ["config={channels: 16, blocks: 1, decoder_blocks: 1}", "data.crop=32", "batch_size=4", "log_every=1"]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("zellige-photo/tiny", [*TINY, *overrides])


def curve(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines]


class Stop(Exception):
    """Stands for a kill: nothing is saved on the way out."""


def stop_at(step: int) -> Any:
    def on_log(line: dict[str, Any]) -> None:
        if line["step"] == step:
            raise Stop

    return on_log


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    loop.train_tokenizer(recipe("steps=12", "checkpoint_every=5"), folder)
    return folder


def test_the_loss_falls(tmp_path: Path) -> None:
    loop.train_tokenizer(recipe("steps=40", "batch_size=16", "optimizer.lr=5e-3"), tmp_path)
    lines = curve(tmp_path)
    assert sum(line["mse"] for line in lines[-5:]) < 0.5 * sum(line["mse"] for line in lines[:5])
    assert {"usage", "perplexity", "grad_norm", "skipped"} <= lines[0].keys()


def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    settings = recipe("steps=12", "checkpoint_every=5")
    with pytest.raises(Stop):
        loop.train_tokenizer(settings, tmp_path, on_log=stop_at(8))
    loop.train_tokenizer(settings, tmp_path, resume=True)
    assert curve(tmp_path) == curve(whole)
    assert load(tmp_path).fingerprint() == load(whole).fingerprint()


def test_codes_that_wait_for_their_start_resume_with_what_they_have_seen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, resumed = (VectorQuantizer(2, 50, kmeans_start=True).train() for _ in range(2))
    batches = torch.randn(3, 1, 20, 2)
    for batch in batches[:2]:
        whole(batch)
    header = {"step": 2, "data": {}}
    save_checkpoint(tmp_path, checkpoint_tensors({"model": whole}, {}, whole.state_dict()), header)
    load_checkpoint(tmp_path, {"model": resumed}, {})
    for quantizer in (whole, resumed):
        torch.manual_seed(1)
        quantizer(batches[2])
    assert bool(resumed.embedding.started)
    assert torch.equal(resumed.embedding.weight, whole.embedding.weight)
    other = VectorQuantizer(2, 50).train()
    tensors = {f"{group}.{k}": v for group in ("model", "average") for k, v in other.state_dict().items()}
    for name, vectors in (("model.embedding", torch.zeros(5, 3)), ("model.other", torch.zeros(5, 2))):
        write_tensors(tmp_path / CHECKPOINT, tensors | {f"waiting.{name}": vectors}, {HEADER: json.dumps(header)})
        with pytest.raises(DataError, match="vectors of another codebook"):
            load_checkpoint(tmp_path, {"model": other}, {})


def test_an_interrupted_run_saves_where_it_is(whole: Path, tmp_path: Path) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 7:
            signal.raise_signal(signal.SIGINT)

    settings = recipe("steps=12", "checkpoint_every=5")
    with pytest.raises(KeyboardInterrupt):
        loop.train_tokenizer(settings, tmp_path, on_log=interrupt)
    loop.train_tokenizer(settings, tmp_path, resume=True)
    assert load(tmp_path).fingerprint() == load(whole).fingerprint()


def test_the_precision_is_that_of_the_machine_a_run_began_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(folder: Path, steps: int, natural: torch.dtype, *overrides: str, resume: bool = False) -> str:
        monkeypatch.setattr(run, "fast_dtype", lambda device: natural)
        loop.train_tokenizer(recipe(f"steps={steps}", *overrides), folder, resume=resume)
        return str(json.loads((folder / run.RECIPE).read_text())["precision"])

    assert train(tmp_path / "a", 1, torch.float32) == "fp32"
    assert train(tmp_path / "b", 1, torch.bfloat16) == "bf16"
    assert train(tmp_path / "a", 2, torch.bfloat16, resume=True) == "fp32"
    assert train(tmp_path / "b", 2, torch.float32, resume=True) == "bf16"
    assert train(tmp_path / "c", 1, torch.bfloat16, "precision=fp32") == "fp32"


def test_a_folder_with_a_run_is_not_overwritten(whole: Path) -> None:
    with pytest.raises(UsageError, match="--resume"):
        loop.train_tokenizer(recipe("steps=12"), whole)


def test_resuming_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        loop.train_tokenizer(recipe("steps=2"), tmp_path, resume=True)


def test_a_checkpoint_of_another_model_is_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes((whole / CHECKPOINT).read_bytes())
    with pytest.raises(ZelligeError, match="holds another architecture"):
        loop.train_tokenizer(recipe("config.channels=8"), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({}, None, "no checkpoint of a training run"),
        ({}, [1], "no checkpoint of a training run"),
        ({}, {"step": "x", "data": {}}, "no checkpoint of a training run"),
        ({"optimizer.9999.step": torch.zeros(())}, {"step": 1, "data": {}}, "state of another optimizer"),
        ({"optimizer.-1.step": torch.zeros(())}, {"step": 1, "data": {}}, "state of another optimizer"),
    ],
)
def test_what_a_checkpoint_claims_is_not_trusted(
    whole: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], header: object, message: str
) -> None:
    found = read_tensors(whole / CHECKPOINT) | tensors
    write_tensors(tmp_path / CHECKPOINT, found, {} if header is None else {HEADER: json.dumps(header)})
    with pytest.raises(DataError, match=message):
        loop.train_tokenizer(recipe("steps=12"), tmp_path, resume=True)


def test_a_loss_that_stays_nan_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "pixel_loss", lambda output, *_: {"mse": output.mean() * torch.nan})
    with pytest.raises(ZelligeError, match=r"not finite for 10 steps .* lower optimizer\.lr"):
        loop.train_tokenizer(recipe("steps=30"), tmp_path)


def test_learning_rate_warms_up_and_decays() -> None:
    settings = recipe("optimizer={lr: 1.0, warmup: 10, final: 0.1}").optimizer
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[99] == pytest.approx(0.1, abs=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_crop_that_is_no_whole_number_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.crop 33 is no multiple of 8"):
        loop.train_tokenizer(recipe("data.crop=33"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_a_launch_that_divides_the_weights_is_refused(
    variable: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(UsageError, match=f"not by {name}: launch with --multi_gpu and set shard=true"):
        loop.train_tokenizer(recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_divided_weights_have_no_layer_to_compare_gradients_at() -> None:
    with pytest.raises(UsageError, match="shard divides the layer"):
        recipe("shard=true", "loss.adversarial.weight=0.5")
    assert recipe("shard=true", "loss.adversarial={weight: 0.5, adaptive: false}").shard


def test_a_set_with_no_usable_image_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    with pytest.raises(ZelligeError, match="no usable image"):
        loop.train_tokenizer(recipe("steps=2", f"data.train=[{tmp_path / 'broken.jpg'}]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_only_leftovers_of_a_run_are_removed(whole: Path, tmp_path: Path) -> None:
    (tmp_path / ".tmpabcdef").write_text("somebody's")
    loop.train_tokenizer(recipe("steps=1"), tmp_path)
    assert (tmp_path / ".tmpabcdef").exists()
    (tmp_path / f".{CHECKPOINT}.1.tmp").write_text("cut off")
    loop.train_tokenizer(recipe("steps=2"), tmp_path, resume=True)
    assert not (tmp_path / f".{CHECKPOINT}.1.tmp").exists()


def test_a_run_goes_on_from_trained_weights_and_leaves_codes_alone(whole: Path, tmp_path: Path) -> None:
    before = load(whole / "model.safetensors", quiet=True)
    settings = [f"tokenizer={whole}", "start=trained", "trains=decoder", "data.draw=area", "data.crop=32", "config={}"]
    settings += ["batch_size=4", "steps=3", "dtype=bf16", "licence=CC0-1.0"]
    loop.train_tokenizer(load_recipe("zellige-photo/tiny", settings), tmp_path)
    after = load(tmp_path / "model.safetensors", quiet=True)
    assert after.licence == "CC0-1.0"
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size
    same = {k: v.bfloat16().float() for k, v in before.state_dict().items()}
    changed = {k.split(".")[0] for k, v in after.state_dict().items() if not torch.equal(v, same[k])}
    assert changed == {"decoder"}


def test_trained_weights_bring_their_settings() -> None:
    with pytest.raises(UsageError, match="leave config out"):
        recipe("start=trained")


def test_frozen_codes_keep_their_statistics() -> None:
    settings = {"codes": 8, "decay": 0.9}
    model = build("vqgan/f16", channels=32, multipliers=(1,), blocks=1, decoder_blocks=1, attention=False, latent=8,
                  dim=8, quantizer="ema", quantizer_settings=settings)  # fmt: skip
    assert isinstance(model, Tokenizer)
    model.freeze_codes()
    model.train()
    before = {k: v.clone() for k, v in model.quantizer.state_dict().items()}
    model(torch.rand(2, 3, 16, 16))
    assert all(torch.equal(v, before[k]) for k, v in model.quantizer.state_dict().items())
    assert model.decoder.training
    assert not model.encoder.training
