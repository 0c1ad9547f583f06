"""Training: recipes, the tokenizer loop, checkpoints."""
