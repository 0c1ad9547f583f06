"""How generators draw tokens: loops, sampling, guidance. The networks are of `nn`, the systems compose."""
