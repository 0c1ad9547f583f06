"""Feature networks of metrics: Inception, I3D, LPIPS, DISTS, filled with drawn weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.inputs import setting
from tests.parity.named import check_named
from tests.parity.runner import handler
from zellige.convert.features import load_efficientnet_lite0, lpips_from
from zellige.core.tokens import Tokens
from zellige.metrics import CodebookUsage
from zellige.metrics.frechet import FeatureStatistics, frechet_distance
from zellige.metrics.inception_score import ONE_BLOCK, inception_score
from zellige.metrics.resize import half_pixel_bilinear, pil_bicubic, tf1_bilinear
from zellige.metrics.video import fvd_clip
from zellige.nn.features.dists import DISTS
from zellige.nn.features.i3d import I3D
from zellige.nn.features.inception import FIDInception


def fill(network: nn.Module, case: Case, gain: float = 1.0) -> Any:
    """The network with the drawn value of each official key; all must fit."""
    network.load_state_dict(official_state(case.meta["keys"], {**case.meta, "gain": gain}))
    return network.eval()


@handler(lambda meta: "TF1 bilinear resize" in meta.get("what", ""))
def resizes(case: Case) -> None:
    image = case.read("image").permute(0, 3, 1, 2).float()
    size = int(re.search(r"resize to (\d+)x", case.meta["what"])[1])
    for name, resize in (("tf1", tf1_bilinear), ("torch_bilinear", half_pixel_bilinear), ("clean", pil_bicubic)):
        case.check(name, resize(image, size).permute(0, 2, 3, 1))


@handler(lambda meta: "InceptionV3-FID" in meta.get("what", ""))
def inception(case: Case) -> None:
    image = case.read("image").float()
    inputs = {
        "pf": 2 * half_pixel_bilinear(image / 255, 299) - 1,
        "tf": (tf1_bilinear(image, 299) - 128) / 128,
    }
    for suffix, gain in (("", 1.0), ("_gain", float(case.read("gain")))):
        network = fill(FIDInception(), case, gain)
        for path, x in inputs.items():
            found = network(x)
            outputs = {f"{path}_{channels}": value for channels, value in found.pools.items()}
            outputs |= {f"sfid_{path}": found.spatial, f"{path}_logits_unbiased": found.logits}
            outputs[f"{path}_logits"] = found.logits + found.bias
            for name, value in outputs.items():
                if name + suffix in case.arrays:
                    case.check(name + suffix, value)


@handler(lambda meta: "I3D" in meta.get("what", ""))
def i3d(case: Case) -> None:
    clip = fvd_clip(case.read("video").permute(0, 4, 1, 2, 3).float() / 127.5 - 1)
    case.check("preprocessed_slice", clip)
    classes = case.meta["keys"]["logits.conv3d.weight"][0]
    case.check("logits", fill(I3D(classes), case)(clip))
    network = fill(I3D(classes), case, float(case.read("gain")))
    case.check("logits_gain", network(clip))
    case.check("logits_gain_reversed_time", network(clip.flip(2)))


@handler(lambda meta: meta.get("what") == "DISTS")
def dists(case: Case) -> None:
    network = DISTS()
    kept = {"mean", "std", "alpha", "beta", *(key for key in case.meta["keys"] if key.endswith("filter"))}
    state = official_state(case.meta["keys"], {**case.meta, "kept_buffers": kept})
    state |= {name: case.read(name).view(1, -1, 1, 1) for name in ("alpha", "beta")}
    network.load_state_dict({**network.state_dict(), **state})
    reference = _pixels(case, "img0")
    for name in [n for n in case.arrays if n.startswith("d_")]:
        case.check(name, network(reference, _pixels(case, name.replace("d_", "img_"))))
    stages = network.stages((reference + 1) / 2)
    case.check("feature_means", torch.cat([stage.mean((2, 3)) for stage in stages], 1).flatten())


@handler(lambda meta: meta.get("what", "").startswith("LPIPS"))
def lpips(case: Case) -> None:
    """Heads are drawn, and their absolute values taken."""
    state = official_state(case.meta["keys"], case.meta)
    state |= {key: value.abs() for key, value in state.items() if key.startswith("lin")}
    network = lpips_from(re.search(r"net=(\w+)", case.meta["what"])[1], state)
    reference = _pixels(case, "img0")
    for name in [n for n in case.arrays if n.startswith(("d_", "layers_"))]:
        image = name.removesuffix("_wrong_range").split("_", 1)[1]
        pair = reference, _pixels(case, f"img_{image}")
        if name.endswith("_wrong_range"):
            pair = tuple((x + 1) / 2 for x in pair)
        stages = network.stages(*pair)
        case.check(name, stages[0] if name.startswith("layers_") else stages.sum(1))


@handler(lambda meta: "EfficientNet-Lite0" in meta.get("system", ""))
def efficientnet(case: Case) -> None:
    """With the real weights of the package, checked by their SHA-256 when they are found."""
    network = load_efficientnet_lite0()
    x = case.read("images").permute(0, 3, 1, 2).float() / 127.5 - 1
    case.check("pooled", network.pooled(x))
    best = network.logits(x).topk(case.arrays["top5"].shape[1])
    case.check_ids("top5", best.indices)
    case.check("logits_top5", best.values)


@handler(lambda meta: "VQGANEvaluator" in str(meta.get("official", "")))
def vqgan_evaluator(case: Case) -> None:
    """The evaluator's sums on linear maps of the pixels in place of Inception; no size of the codebook is given."""
    weights, classes = case.read("W"), case.read("Wl")
    sides = {}
    for side in ("real", "fake"):
        images = case.read(side).flatten(0, 1).clamp(0, 1)
        sides[side] = (images * 255).floor().double().flatten(1) / 255
    statistics = {side: FeatureStatistics(weights.shape[1]) for side in sides}
    for side, x in sides.items():
        statistics[side].update(x @ weights)
    ids = case.read("indices").flatten(1)
    codes = (
        setting(case.meta["config"], "num_codebook_entries", "codebook_size", "K") or 2 ** int(ids.max()).bit_length()
    )
    usage = CodebookUsage((codes,))
    usage.update(Tokens(ids, ((1, ids.shape[1]),), (codes,)))
    share, entropy, perplexity = (m.value for m in usage.compute())
    p = usage.frequencies()[0].double() / ids.numel()
    found = {
        "InceptionScore": inception_score(sides["fake"] @ classes, ONE_BLOCK)[0],
        "rFID": frechet_distance(statistics["real"], statistics["fake"]),
        "CodebookUsage": share,
        "CodebookEntropy": -(p * (p + 1e-8).log2()).sum().item(),
        "formula_entropy_bits": entropy,
        "formula_perplexity": perplexity,
    }
    check_named(case, found.__getitem__, lambda name: 1e-6 if name.startswith("Codebook") else 1e-9)


def _pixels(case: Case, name: str) -> Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    return (case.read(name).float() / 127.5 - 1).permute(2, 0, 1)[None]
