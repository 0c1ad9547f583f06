"""Metrics of two sets of features, and scores of a set of logits."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from tests.parity.case import Case, Line
from tests.parity.named import check_array, check_named, check_number
from tests.parity.runner import handler
from zellige.metrics.discrepancy import KIDSubsets, cmmd, kernel_distance, squared_mmd
from zellige.metrics.frechet import FeatureStatistics, frechet_distance
from zellige.metrics.inception_score import ScoreBlocks, inception_score
from zellige.metrics.neighbours import ADM, Manifold, ManifoldConvention, precision_recall


@handler(lambda meta: "Frechet distance between Gaussians" in meta.get("what", ""))
def frechet(case: Case) -> None:
    sides = {}
    for side in ("real", "fake"):
        features = case.read(side)
        sides[side] = FeatureStatistics(features.shape[1])
        for part in features.split(50):
            sides[side].update(part)
        check_array(case, f"mu_{side}", sides[side].mean, rtol=1e-9, atol=1e-12)
        check_array(case, f"sigma_{side}", sides[side].covariance, rtol=1e-9, atol=1e-12)
    value = frechet_distance(sides["real"], sides["fake"])
    few = any(s.count <= s.dim for s in sides.values())

    def tolerance(name: str) -> float:
        # Without full rank the official ones scatter by 1e-7 themselves; float32 features round at 1e-7.
        return 1e-6 if few or "float32" in name else 1e-11

    check_named(case, lambda name: value, tolerance)


@handler(lambda meta: "Kernel Inception Distance" in meta.get("what", ""))
def kid(case: Case) -> None:
    first, second = case.read("feat1"), case.read("feat2")
    names = case.arrays["names"].tolist()
    equal = min(len(first), len(second), *(int(n) for name in names for n in re.findall(r"_first(\d+)", name)))

    @cache
    def distance(library: str) -> tuple[float, float]:
        text = next(name for name in names if name.startswith(library) and "subsets" in name)
        count, size, seed = (int(re.search(rf"{key}(\d+)", text)[1]) for key in ("subsets", "(?:size|max)", "seed"))
        return kernel_distance(first, second, KIDSubsets(count, size, seed, second_first=library == "clean_fid"))

    def compute(name: str) -> float:
        if name.startswith("clean_fid"):
            return distance("clean_fid")[0]
        if "kid_mean" in name or "kid_std" in name:
            return distance("torch_fidelity_kid_mean")["std" in name]
        estimator = next((e for e in ("u-statistic", "unbiased", "biased") if name.endswith(e)), "unbiased")
        return squared_mmd(first[:equal], second[:equal], estimator=estimator)

    check_named(case, compute, lambda name: 1e-5 if name.startswith("clean_fid") else 1e-9)


@handler(lambda meta: meta.get("what", "").startswith("CMMD"))
def clip_mmd(case: Case) -> None:
    reference, generated = case.read("ref"), case.read("gen")
    sigma = re.search(r"sigma=([\d.]+)", case.meta["what"])
    value = cmmd(reference, generated, float(sigma[1].rstrip(".")) if sigma else 10.0)
    for name, rtol in (("cmmd_float64", 1e-9), ("cmmd_float32", 2e-3)):  # float32 cancels in 1 − k
        case.seen.add(name)
        check_number(case, name, value, float(case.arrays[name]), rtol=rtol)


@handler(lambda meta: "Inception Score from logits" in meta.get("what", ""))
def score(case: Case) -> None:
    logits = case.read("logits")

    @cache
    def scores(blocks: ScoreBlocks) -> tuple[float, float]:
        return inception_score(logits, blocks)

    def compute(name: str) -> float:
        if name.startswith("adm"):
            return scores(ScoreBlocks(size=int(re.search(r"split(\d+)", name)[1])))[0]
        count, shuffled = re.search(r"splits(\d+)_shuffle(\d)", name).groups()
        return scores(ScoreBlocks(count=int(count), seed=2020 if int(shuffled) else None))[name.endswith("std")]

    check_named(case, compute, lambda name: 1e-6 if name.startswith("adm") else 1e-9)  # ADM's are in float32


@handler(lambda meta: "improved precision/recall" in meta.get("what", ""))
def manifolds(case: Case) -> None:
    real, fake = case.read("real"), case.read("fake")
    default = re.search(r"k=(\d+)", case.meta["official"])

    @cache
    def scores(convention: ManifoldConvention):
        return precision_recall(real, fake, convention)

    def compute(name: str) -> float:
        k = re.search(r"_k(\d+)", name) or default
        strict = name.startswith("prdc")
        found = scores(ManifoldConvention(int(k[1]) if k else 3, strict=strict))
        last = name.rsplit("_", 1)[1]
        return getattr(found, "f_score" if last == "f" else last)

    check_named(case, compute, lambda name: 1e-9 if name.startswith("prdc") else 1e-6)


@handler(lambda meta: "ADM-evaluator precision/recall" in meta.get("what", ""))
def adm_manifolds(case: Case) -> None:
    """Sums of float16 depend on their order, so a radius may be off by a step and a sample may change sides."""
    real, fake = case.read("real"), case.read("fake")
    steps = 2 * 2.0**-10
    scores = precision_recall(real, fake, ADM)
    for name, count in (("precision", len(fake)), ("recall", len(real))):
        case.seen.add(name)
        check_number(case, name, getattr(scores, name), float(case.arrays[name]), rtol=0, atol=2.01 / count)
    manifold = Manifold.of(real, ADM)
    check_array(case, "radii_real", manifold.radii[:, None], rtol=steps)
    check_array(case, "radii_fake", Manifold.of(fake, ADM).radii[:, None], rtol=steps)
    check_array(case, "realism", manifold.realism(fake), rtol=2 * steps)
    name = "in_real_manifold"
    case.seen.add(name)
    wrong = int(((manifold.membership(fake)[0] > 0).numpy() != case.arrays[name].astype(np.bool_)).sum())
    case.lines.append(Line(name, wrong <= 2, f"{wrong} of {len(fake)} samples change sides"))
