"""`zellige encode --engine ray`: on a Ray cluster of this machine alone, the file of the local engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Run, draw
from zellige.cli import sinks
from zellige.cli.engines.cluster import RayEngine
from zellige.cli.options import Precision
from zellige.core.errors import MissingExtra
from zellige.core.tokens import Tokens
from zellige.data.source import ImageInfo


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """A Ray cluster of two cores in this machine, for all tests here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray", reason="ray is not installed; it comes with zellige[ray]")
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Forty pictures of four sizes, and two files that are none."""
    for i in range(40):
        width, height = [(40, 28), (28, 40), (39, 26), (33, 33)][i * 7 % 4]
        draw(tmp_path / "many" / f"{i}.png", width, height, seed=i)
    whole = (tmp_path / "many" / "7.png").read_bytes()
    (tmp_path / "many" / "7a.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "many" / "8a.png").write_bytes(b"no picture")
    return tmp_path / "many"


def on_write(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], None]) -> None:
    """Do something before batch `number` is written to a set."""
    write, count = sinks.TokenSetSink.write, 0

    def counting(self: sinks.TokenSetSink, images: Sequence[ImageInfo], tokens: Tokens) -> None:
        nonlocal count
        count += 1
        if count == number:
            action()
        write(self, images, tokens)

    monkeypatch.setattr(sinks.TokenSetSink, "write", counting)


def kill_workers() -> list[str]:
    """Kill -9 every process that runs our code for Ray, or waits to; their titles."""
    import psutil

    killed = []
    for process in psutil.Process().children(recursive=True):
        title = " ".join(process.cmdline())
        if title.startswith(("ray::Worker", "ray::read_images", "ray::IDLE")):  # and not Ray's own
            os.kill(process.pid, signal.SIGKILL)
            killed.append(title)
    return killed


@pytest.mark.usefixtures("ray")
def test_killed_workers_change_nothing(
    zellige: Run, tokenizer: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("encode", many, "-t", tokenizer, "-b", 2, "-o")
    local = zellige(*common, tmp_path / "local.parquet").done()
    killed: list[str] = []
    on_write(monkeypatch, 3, lambda: killed.extend(kill_workers()))
    remote = zellige(*common, tmp_path / "ray.parquet", "--engine", "ray", "--json").done()
    assert json.loads(remote.out)["images"] == 40
    assert any(title.startswith("ray::Worker") for title in killed), killed  # the second may still be starting
    assert "skipped 2 files" in remote.err
    assert remote.err.endswith(local.err)
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


@pytest.mark.usefixtures("ray")
def test_interrupted_run_goes_on(
    zellige: Run, tokenizer: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)  # the workers run elsewhere, and still find the files
    common = ("encode", "many", "-t", os.path.relpath(tokenizer), "-b", 4, "--size", 24, "-o")
    for engine in ("local", "ray"):
        line = (*common, f"{engine}.parquet", "--engine", engine)
        with monkeypatch.context() as patch:
            on_write(patch, 4, interrupt)
            zellige(*line).refused(130, "--resume")
        assert "12 were there before" in zellige(*line, "--resume").done().out
    assert Path("ray.parquet").read_bytes() == Path("local.parquet").read_bytes()


@pytest.mark.usefixtures("ray")
def test_what_cannot_be_is_said_in_one_line(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    common = ("-t", tokenizer, "-o", tmp_path / "x.parquet", "--engine", "ray")
    zellige("encode", folder, *common, "--device", "cuda").refused(2, "the Ray cluster has no GPU")
    zellige("encode", tmp_path / "text.png", *common).refused(1, "text.png")
    assert not (tmp_path / "x.parquet").exists()


def test_cluster_that_is_not_there(
    zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed; it comes with zellige[ray]")
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        line = ("encode", photo, "-t", tokenizer, "-o", tmp_path / "x.parquet", "--engine", "ray")
        zellige(*line).refused(1, address, "cannot be reached: connection refused")


def test_device_that_workers_do_not_have() -> None:
    pytest.importorskip("ray", reason="ray is not installed; it comes with zellige[ray]")
    from zellige.core.errors import UsageError

    with pytest.raises(UsageError, match="cuda:1"):
        RayEngine("cuda:1", Precision.AUTO)


def test_missing_ray_is_named(
    zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra):
        RayEngine("auto", Precision.AUTO)
    line = ("encode", photo, "-t", tokenizer, "-o", tmp_path / "x.parquet", "--engine", "ray")
    zellige(*line).refused(1, "ray is not installed", "zellige[ray]")
