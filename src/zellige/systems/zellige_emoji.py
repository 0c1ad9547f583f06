"""The generator in the box: a small LlamaGen of emoji, conditioned on their category and subcategory.

Its tokenizer, ``zellige-emoji/tokenizer``, is a `zellige-photo` with a codebook of 1,024 vectors for 8×8 pixels each,
trained with latent perturbation. Its classes are paths such as ``Animals & Nature/animal-bird``.
"""

from __future__ import annotations

from zellige.systems.llamagen import LlamaGen


class ZelligeEmoji(LlamaGen):
    """A `LlamaGen` of the size below; its presets are all there is to it."""

    system = "zellige-emoji"
