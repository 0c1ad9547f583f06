"""Rate curves, masks, and ADM's centre crop."""

from __future__ import annotations

import re

import numpy as np

from tests.parity.case import Case
from tests.parity.named import check_array
from tests.parity.runner import handler
from zellige.data.transforms import center_crop_adm
from zellige.metrics.bjontegaard import RateCurve, bd_quality, bd_rate
from zellige.metrics.masks import MaskIoU


@handler(lambda meta: "Bjontegaard" in meta.get("what", ""))
def bjontegaard(case: Case) -> None:
    curves = [
        RateCurve(case.read(f"rate_{side}").numpy(), case.read(f"psnr_{side}").numpy()) for side in ("anchor", "test")
    ]
    case.seen.add("methods")
    methods = case.arrays["methods"].tolist()
    check_array(case, "bd_rate", [bd_rate(*curves, method) for method in methods], rtol=1e-9)
    check_array(case, "bd_psnr", [bd_quality(*curves, method) for method in methods], rtol=1e-9)


@handler(lambda meta: "cIoU" in meta.get("what", ""))
def masks(case: Case) -> None:
    metric = MaskIoU(classes=len(case.arrays["ciou"]))
    values = metric.update(case.read("pred"), case.read("target"))
    found = [m.value for m in metric.compute()]
    check_array(case, "per_image", values, rtol=1e-6)
    check_array(case, "ciou", found[: metric.classes], rtol=1e-6)
    check_array(case, "giou", found[metric.classes :], rtol=1e-6)


@handler(lambda meta: "center_crop_arr" in meta.get("what", ""))
def adm_crop(case: Case) -> None:
    size = int(re.search(r"pil, (\d+)\)", case.meta["what"])[1])
    for name in [n for n in case.arrays if n.startswith("image_")]:
        crop = center_crop_adm(case.read(name).numpy(), size)
        check_array(case, name.replace("image", "out"), crop.astype(np.float64), rtol=0)
