"""Metrics. Each streams (`update`, `merge`, `compute`) and returns numbers with their protocol.

    protocol.py   Protocol, Measurement, column: what makes two numbers comparable
    base.py       Metric, PairedMetric, PerImageMetric: the interfaces
    paired.py     PSNR: an image against its reconstruction, pixel by pixel
    similarity.py SSIM, MS-SSIM, GMSD; windows.py has the conventions they are computed under
    perceptual.py LPIPS, DISTS
    distribution.py  Fréchet and kernel distance, precision and recall of two sets, in one pass of a network
    perturbed.py  pFID: the Fréchet distance over a grid of perturbed tokens
    features.py   FeatureNetwork: what such a network is; resize.py and video.py have the ways images and clips reach it
    frechet.py, discrepancy.py, neighbours.py, inception_score.py: these figures from given features
    bjontegaard.py   BD-rate and BD-PSNR of two rate–distortion curves
    masks.py      MaskIoU: cIoU and gIoU
    usage.py      CodebookUsage: usage, entropy, perplexity of codes
    rate.py       BitsPerPixel
    speed.py      Throughput

Where a new metric goes: a class in the file of its kind, or a new file beside these; if it
compares images with their reconstructions, also a line in `PAIRED` below. Everything there is
measured by `zellige eval`, and shown in its table, JSON and report. Those that need a network's
weights are passed to `zellige.evaluate.evaluate(metrics=…)`, built from `zellige.convert.features`.
"""

from __future__ import annotations

from collections.abc import Callable

from zellige.metrics.base import Metric, PairedMetric, PerImageMetric, Rounding
from zellige.metrics.paired import PSNR, PooledPSNR
from zellige.metrics.protocol import Measurement, Protocol, column
from zellige.metrics.rate import BitsPerPixel
from zellige.metrics.similarity import GMSD, MSSSIM, SSIM
from zellige.metrics.speed import Throughput
from zellige.metrics.usage import CodebookUsage

PAIRED: tuple[Callable[[Rounding], PairedMetric], ...] = (PSNR, PooledPSNR, SSIM, MSSSIM)

__all__ = [
    "GMSD",
    "MSSSIM",
    "PAIRED",
    "PSNR",
    "SSIM",
    "BitsPerPixel",
    "CodebookUsage",
    "Measurement",
    "Metric",
    "PairedMetric",
    "PerImageMetric",
    "PooledPSNR",
    "Protocol",
    "Rounding",
    "Throughput",
    "column",
]
