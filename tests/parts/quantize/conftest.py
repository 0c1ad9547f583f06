"""One small quantizer of every kind, and latents for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zellige.quantize import Quantizer, make_quantizer

POSITIONS = 12  # 3×4, the finest scale of the multi-scale case

DISCRETE: dict[str, tuple[str, int, dict[str, Any]]] = {
    "vq": ("vq", 4, {"codes": 20}),
    "vq-normalized": ("vq", 4, {"codes": 20, "normalize": True}),
    "vq-entropy": ("vq", 4, {"codes": 20, "entropy_weight": 0.1, "entropy_temperature": 1.0}),
    "vq-alive": ("vq", 4, {"codes": 20, "kmeans_start": True, "revive_below": 0.1}),
    "vq-clustering": ("vq", 4, {"codes": 20, "clustering": True}),
    "ema": ("ema", 4, {"codes": 20}),
    "ema-normalized": ("ema", 4, {"codes": 20, "normalize": True}),
    "fsq": ("fsq", 3, {"levels": [4, 3, 2]}),
    "lfq": ("lfq", 5, {}),
    "bsq": ("bsq", 5, {"beta": 0.1}),
    "product-vq": ("product", 6, {"of": "vq", "groups": 2, "codes": 9}),
    "product-fsq": ("product", 4, {"of": "fsq", "groups": 2, "levels": [5, 4]}),
    "residual": ("residual", 4, {"of": "vq", "depth": 3, "codes": 9}),
    "residual-ema": ("residual", 4, {"of": "ema", "depth": 2, "codes": 9}),
    "multiscale": ("multiscale", 4, {"codes": 20, "scales": [1, 2, [3, 4]]}),
    "multiscale-cosine": ("multiscale", 4, {"codes": 20, "scales": [1, 2, [3, 4]], "search": "cosine"}),
    "multiscale-sign": (
        "multiscale",
        5,
        {"codes": 32, "scales": [1, 2, [3, 4]], "search": "sign", "entropy_weight": 0.1},
    ),
    "product-multiscale": (
        "product",
        6,
        {"of": "multiscale", "groups": 2, "codes": 20, "scales": [1, 2, [3, 4]], "search": "cosine"},
    ),
}


def build(case: str) -> Quantizer:
    """The quantizer of a case, its learned codes spread over the latents that `draw` gives."""
    name, dim, settings = DISCRETE[case]
    torch.manual_seed(0)
    quantizer = make_quantizer(name, dim, **settings)
    with torch.no_grad():
        for key, parameter in quantizer.named_parameters():
            if key.endswith("embedding.weight"):
                parameter.normal_()
    return quantizer


def draw(quantizer: Quantizer, batch: int = 3, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, POSITIONS, quantizer.input_dim, generator=generator) * 1.5


@pytest.fixture(params=DISCRETE)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def quantizer(case: str) -> Quantizer:
    """In evaluation mode, so that nothing moves."""
    return build(case).eval()


@pytest.fixture
def z(quantizer: Quantizer) -> torch.Tensor:
    return draw(quantizer)
