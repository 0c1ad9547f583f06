"""The machine a command runs on, and the tokenizer it runs there. This file imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from zellige.cli.console import note
from zellige.cli.options import Precision
from zellige.codec import EntropyModel
from zellige.codec.entropy import TABLES_FILE
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.hub import bundled, load
from zellige.core.tiling import decode_tokens, encode_image
from zellige.core.tokens import Tokens
from zellige.data.parallel import usable_cpus
from zellige.nn.precision import fast_dtype
from zellige.nn.threads import side_by_side

PIECE_PIXELS = 8 * 256 * 256
"""Pixels that a CPU encodes as one piece of a batch: larger pieces leave the cache, smaller ones cost calls."""


@dataclass(frozen=True)
class Session:
    """A tokenizer on a device, in one precision.

    Attributes:
        dtype: what autocast computes in; float32 is no autocast.
        tables: entropy tables beside a tokenizer in a local folder; None lets the codec look in the wheel.
    """

    tokenizer: Tokenizer
    device: torch.device
    dtype: torch.dtype
    tables: EntropyModel | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights, which token files record."""
        return self.tokenizer.fingerprint()

    def check_size(self, size: int | None) -> None:
        """Raise `UsageError` if the tokenizer takes one size only and `size`, None for any, is another."""
        need = self.tokenizer.image_size
        if need is not None and size != need:
            raise UsageError(f"{self.tokenizer.name} takes {need}×{need} images; add --size {need}")

    def check_discrete(self) -> None:
        """Raise `UsageError` if its tokens are no ids, which is what token files hold."""
        if not self.tokenizer.codebook:
            raise UsageError(f"{self.tokenizer.name} gives continuous latents; token files hold ids")

    def encode(self, pixels: Tensor) -> Tokens:
        """Tokens, on the CPU, of pixels (B, 3, H, W) in [-1, 1]; large images go through in tiles."""
        if self.device.type != "cpu":
            return self._encode(pixels)
        # The same pieces whatever the number of threads: two machines are to give the same ids.
        return Tokens.cat(side_by_side(self._encode, pixels.split(max(1, PIECE_PIXELS // pixels[0, 0].numel()))))

    def _encode(self, pixels: Tensor) -> Tokens:
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), self._autocast():
            return encode_image(self.tokenizer, pixels).to("cpu")

    def decode(self, tokens: Tokens) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1], on the CPU, padded size."""
        with torch.inference_mode(), self._autocast():
            return decode_tokens(self.tokenizer, tokens.to(self.device)).float().cpu()

    def _autocast(self) -> torch.autocast:
        enabled = self.dtype is not torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else None, enabled=enabled)


def open_session(name: str, device: str = "auto", precision: Precision = Precision.AUTO) -> Session:
    """Load the tokenizer `name` and choose where and how it runs.

    Raises `UsageError` for an unknown name or device, and for models that are no tokenizers.
    """
    where = choose_device(device)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())
    model = load(name, device=where, quiet=True)
    if not isinstance(model, Tokenizer):
        raise UsageError(f"'{name}' is a {type(model).__name__}, no tokenizer; see: zellige list")
    if model.licence and name.partition("/")[0] not in bundled() and not Path(name).exists():
        note(f"weights of {model.name}: {model.licence}")
    has_tables = (Path(name) / TABLES_FILE).is_file()
    return Session(model, where, choose_dtype(where, precision), EntropyModel.load(name) if has_tables else None)


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is CUDA, then Apple's GPU, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            have = f"{count} CUDA GPU{'s' * (count > 1)}" if count else "no CUDA GPU that this PyTorch can use"
            raise UsageError(f"device '{name}' is not there: this machine has {have}; use --device cpu")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device '{name}' is not there: this PyTorch has no Apple GPU; use --device cpu")
    elif device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device '{name}' is not supported; use auto, cpu, cuda, cuda:1 or mps")
    return device


def choose_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """float32, or bfloat16 where it is asked for or, for auto, where the hardware computes in it."""
    if precision is Precision.AUTO:
        return fast_dtype(device)
    return torch.bfloat16 if precision is Precision.BF16 else torch.float32
