"""Small-scale experiments of the papers, each one command, with seeds, intervals and recorded results."""
