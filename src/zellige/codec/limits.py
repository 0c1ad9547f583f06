"""Bounds that every reader of token files holds to, whatever a file claims."""

from __future__ import annotations

import re

from zellige.core.errors import UsageError

MAX_TOKENS = 1 << 24  # ids of one sample, sub-codebooks counted
MAX_CODES = 1 << 32  # codes of a sub-codebook


def check_fingerprint(fingerprint: str) -> None:
    """`UsageError` unless it is 16 hexadecimal digits."""
    if not re.fullmatch(r"[0-9a-f]{16}", fingerprint):
        raise UsageError(f"a fingerprint is 16 hexadecimal digits; got '{fingerprint}'")
