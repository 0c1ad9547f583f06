"""A text encoder that tells words apart and knows nothing of them: a CLIP of random weights, for `transformers`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from zellige.core.hub import WEIGHTS

LENGTH = 4
"""Tokens of a text: its beginning, a word, its end, padding."""


def write_encoder(folder: Path, words: Sequence[str], dim: int = 64) -> Path:
    """The folder of a text encoder of single words in lower case, one token each; written unless it is there."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    if (folder / WEIGHTS).is_file():
        return folder
    letters = sorted({letter for word in words for letter in word})
    merges = list(dict.fromkeys(step for word in words for step in _spelling(word)))
    marks = ["!", "<|startoftext|>", "<|endoftext|>"]
    signs = [*marks, *letters, *(f"{letter}</w>" for letter in letters), *("".join(step) for step in merges)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=dim,
                intermediate_size=2 * dim,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=dim,
                vocab_size=len(signs),
                max_position_embeddings=LENGTH,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=2,
            )
        )
        for table in (part for part in network.modules() if isinstance(part, nn.Embedding)):
            nn.init.normal_(table.weight)  # or what is alike in all texts drowns the words
    write_signs(folder, signs, merges, LENGTH)
    network.save_pretrained(folder)
    return folder


def write_signs(folder: Path, signs: Sequence[str], merges: Iterable[tuple[str, str]], length: int) -> None:
    """The files of a CLIP tokenizer: its tokens by number, pairs that become one, and the most tokens of a text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({sign: number for number, sign in enumerate(signs)}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), "utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def _spelling(word: str) -> Iterable[tuple[str, str]]:
    """The pairs by which byte-pair encoding puts a word together, letter after letter."""
    letters = [*word[:-1], f"{word[-1]}</w>"]
    for end in range(1, len(letters)):
        yield "".join(letters[:end]), letters[end]
