"""Terms of a training loss."""
