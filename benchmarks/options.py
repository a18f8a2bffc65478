"""The options that all benchmarks share."""

import argparse

from benchmarks.stage import DATABASES, SERVERS


def parser(about: str) -> argparse.ArgumentParser:
    """Runs, seconds a run, servers and databases."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    found.add_argument("--runs", type=int, default=5, help="runs of which the median counts")
    found.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    found.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    found.add_argument("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))
    return found


def with_connections(found: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """How many connections ask at once."""
    found.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    return found
