"""Entropy tables from a token set: counting, once, when a tokenizer is released.

python -m zellige.codec.tables SET.parquet MODEL_FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zellige.codec.entropy import LARGEST_RADIX, TOTAL, EntropyModel, check_radices, split_digits
from zellige.codec.interlace import num_contexts, visit
from zellige.codec.tokenset import TokenSet
from zellige.core.errors import UsageError, ZelligeError
from zellige.core.tokens import Tokens


def fit_tables(
    tokens: TokenSet | Iterable[Tokens], radices: Sequence[Sequence[int]], fingerprint: str = ""
) -> EntropyModel:
    """Count the digits of tokens in their contexts.

    Args:
        tokens: a token set, or batches of tokens (then with the `fingerprint` of their tokenizer).
        radices: digits of each sub-codebook, first digit fastest: the levels of an FSQ,
            ``[[8, 8, 8, 5, 5, 5]]``; ``[[K]]`` for a code without inner order.

    Raises:
        UsageError: if the radices do not multiply to the codebook.
    """
    groups = tuple(tuple(int(k) for k in group) for group in radices)
    check_radices(groups)
    planes = [k for group in groups for k in group]
    counts = [np.zeros((num_contexts(k), k), np.int64) for k in planes]

    def count(plane: int, context: np.ndarray | None, digits: np.ndarray) -> None:
        size = counts[plane].shape[1]
        cells = digits.astype(np.int64) if context is None else context.astype(np.int64) * size + digits
        counts[plane] += np.bincount(cells.reshape(-1), minlength=counts[plane].size).reshape(-1, size)

    name = ""
    if isinstance(tokens, TokenSet):
        name, fingerprint = tokens.info.name, tokens.info.fingerprint
        tokens = (batch.tokens for batch in tokens.batches(64))
    for batch in tokens:
        codebook = tuple(int(np.prod(group)) for group in groups)
        if batch.codebook != codebook:
            raise UsageError(f"radices {groups} make the codebook {codebook}; the tokens have {batch.codebook}")
        ids = batch.data.cpu().numpy().reshape(len(batch), batch.num_tokens, -1)
        visit(split_digits(ids, groups, batch.layout), tuple(planes), count)
    return EntropyModel(groups, tuple(_frequencies(c) for c in counts), fingerprint, name)


def _frequencies(counts: np.ndarray) -> np.ndarray:
    """Counts (C, K) to uint16 frequencies (C, K): rows sum to 65,536 and no entry is 0.

    The plane as a whole is smoothed by ½ a code. Where there are several contexts, each row gets
    that same mass of K/2, spread as in the plane: what was rarely seen falls back to it.
    """
    size = counts.shape[1]
    overall = counts.sum(0, keepdims=True) + 0.5
    smooth = overall if len(counts) == 1 else counts + overall / overall.sum() * (size / 2)
    exact = smooth / smooth.sum(1, keepdims=True) * (TOTAL - size)
    floor = np.floor(exact).astype(np.int64)
    missing = TOTAL - size - floor.sum(1)
    rank = np.argsort(np.argsort(floor - exact, axis=1, kind="stable"), axis=1, kind="stable")
    return (floor + 1 + (rank < missing[:, None])).astype(np.uint16)


def digits_of(folder: str | Path, fingerprint: str) -> list[list[int]]:
    """Digits of the ids of the tokenizer in a folder: the levels of an FSQ, bits of binary codes, or whole codes.

    Raises `UsageError` unless the folder holds the weights with this fingerprint.
    """
    from zellige.core.hub import load

    model: Any = load(str(folder))
    if model.fingerprint() != fingerprint:
        raise UsageError(f"the tokens were made with the weights {fingerprint}, not with those in {folder}")
    levels = getattr(getattr(model, "quantizer", None), "levels", None)
    if levels is not None:
        return [list(levels)]
    return [[2] * (k.bit_length() - 1) if k > LARGEST_RADIX and k & (k - 1) == 0 else [k] for k in model.codebook]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit tables to a token set and write them into a tokenizer's folder; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m zellige.codec.tables", description="Entropy tables from tokens.")
    parser.add_argument("tokens", help="token set (.parquet) made with the tokenizer")
    parser.add_argument("folder", help="folder of the tokenizer, where tables.safetensors goes")
    options = parser.parse_args(arguments)
    try:
        tokens = TokenSet(options.tokens)
        path = fit_tables(tokens, digits_of(options.folder, tokens.info.fingerprint)).save(options.folder)
    except ZelligeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
