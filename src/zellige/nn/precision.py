"""Where half precision is too little."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_lock = threading.Lock()
_inside = 0  # threads that are within `full_precision`; the backends' settings belong to the whole process
_before: list[str] = []


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or in float32 if it has a shorter floating-point type."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def full_precision(like: Tensor) -> Iterator[None]:
    """Float32 products in full on the device of `like`, so that ids do not move.

    Autocast is off inside, and so are TF32 and bfloat16 products, which
    `torch.set_float32_matmul_precision` may have allowed.
    """
    global _inside, _before
    candidates = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    backends = [backend for backend in candidates if hasattr(backend, "fp32_precision")]  # from torch 2.9 on
    with _lock:
        if not _inside:
            _before = [backend.fp32_precision for backend in backends]
        _inside += 1
        for backend in backends:
            backend.fp32_precision = "ieee"
    try:
        with torch.autocast(like.device.type, enabled=False):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:  # the last one out
                for backend, precision in zip(backends, _before, strict=True):
                    backend.fp32_precision = precision


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively: a CPU with AVX512-BF16 or AMX, or a GPU since Ampere.

    Elsewhere it is emulated, on CPUs a hundred times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where `device` multiplies it natively, else float32."""
    return torch.bfloat16 if bfloat16_is_fast(device) else torch.float32
