"""How fast it is, always beside its limit measured in the same run: `python -m benchmarks`, or one part alone."""
