"""Our speed against that of others, as ratios on one machine in one run: `python -m benchmarks`."""
