"""Long fault and load runs: `make soak`, or each by itself: `python -m soak.crash --help`. They print counts."""
