"""Training: recipes, the tokenizer loop, the generator loop, checkpoints."""
