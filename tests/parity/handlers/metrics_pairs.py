"""Image pairs under every convention met in the field."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.named import check_named
from tests.parity.runner import handler
from zellige.metrics import GMSD, MSSSIM, PSNR, SSIM, PerImageMetric, PooledPSNR

CONVENTIONS = {
    "skimage_gaussian_wang": "",
    "pytorch_msssim": "",
    "omnitokenizer_video_eval": "",
    "skimage_uint8_win7_uniform": "scikit-image",
    "skimage_float01_datarange1": "scikit-image",
    "skimage_float01_datarange2_llamagen": "llamagen",
    "torchmetrics_datarange1": "torchmetrics",
    "torchmetrics_default": "torchmetrics, range of the images",
    "piq": "piq",
    "piq_downsample_default": "piq",
    "piq_no_downsample": "piq, not shrunk",
}
"""Names of official calls to names of ours."""


def metric(kind: str, official: str) -> PerImageMetric:
    if kind == "psnr":
        return PSNR("float", {"piq": "piq", "omnitokenizer_video_eval": "omnitokenizer"}.get(official, ""))
    if kind == "gmsd":
        return GMSD("float")
    return {"ssim": SSIM, "msssim": MSSSIM}[kind]("float", CONVENTIONS[official])


@handler(lambda meta: "PSNR / SSIM / MS-SSIM" in meta.get("what", ""))
def image_pairs(case: Case) -> None:
    outputs = {name.removeprefix("img_"): _pixels(case, name) for name in case.arrays if name.startswith("img_")}
    reference = _pixels(case, "gt")

    def compute(name: str) -> float:
        image, kind, official = name.split("/")
        if image == "set":
            batch = torch.cat([reference] * len(outputs)), torch.cat(list(outputs.values()))
            chosen = PooledPSNR("float") if official.endswith("pooled_mse") else metric(kind, official)
            chosen.update(*batch)
            return chosen.compute()[0].value
        return metric(kind, official).per_image(reference, outputs[image]).item()

    # All but these were computed in float32, where E[x²] − E[x]² loses its last digits.
    exact = ("uint8", "mean_of_per_image")
    check_named(case, compute, lambda name: 1e-9 if any(word in name for word in exact) else 2e-5)


def _pixels(case: Case, name: str) -> Tensor:
    image = case.read(name).numpy().astype(np.float64)
    return torch.from_numpy(image / 127.5 - 1).permute(2, 0, 1)[None]
