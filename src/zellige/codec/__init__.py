"""Tokens on disk: `.zel` for one image, Parquet for sets, entropy tables for both tokenizers and files."""

from __future__ import annotations

from zellige.codec.entropy import EntropyModel
from zellige.codec.read import file_kind, load_tokens
from zellige.codec.schema import TokenSetInfo
from zellige.codec.tokenset import TokenBatch, TokenSet
from zellige.codec.writer import TokenSetWriter
from zellige.codec.zel import EncodedImage, dumps, info_zel, loads, read_zel, write_zel

__all__ = [
    "EncodedImage",
    "EntropyModel",
    "TokenBatch",
    "TokenSet",
    "TokenSetInfo",
    "TokenSetWriter",
    "dumps",
    "file_kind",
    "info_zel",
    "load_tokens",
    "loads",
    "read_zel",
    "write_zel",
]
