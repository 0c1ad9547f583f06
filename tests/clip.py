"""A CLIP of random weights for tests, in a folder as `transformers` reads it. Its words are spelt with a, b and c."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from studies.words import write_signs

LENGTH, DIM = 9, 8
"""Tokens of a text, and channels of their features and of the pooled vector."""


def save_clip(folder: Path, *, images: bool = False) -> Path:
    """Write the text side alone, or with the side of the images."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig

    signs = ["!", *"abc", *(f"{letter}</w>" for letter in "abc"), "<|startoftext|>", "<|endoftext|>"]
    ends = {"bos_token_id": len(signs) - 2, "eos_token_id": len(signs) - 1, "pad_token_id": len(signs) - 1}
    small: dict[str, Any] = {"hidden_size": DIM, "intermediate_size": 16, "num_hidden_layers": 3}
    small |= {"num_attention_heads": 2, "projection_dim": DIM}
    text = {**small, **ends, "vocab_size": len(signs), "max_position_embeddings": LENGTH}
    torch.manual_seed(0)
    if images:
        vision = CLIPVisionConfig(**small, image_size=8, patch_size=4)
        config = CLIPConfig(text_config=text, vision_config=vision.to_dict(), projection_dim=DIM)
        CLIPModel(config).save_pretrained(folder)
    else:
        CLIPTextModelWithProjection(CLIPTextConfig(**text)).save_pretrained(folder)
    write_signs(folder, signs, (), LENGTH)
    return folder
