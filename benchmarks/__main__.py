"""All benchmarks one after the other: `python -m benchmarks`; what stands behind its name goes to each (`--runs 3`)."""

import sys

from benchmarks import batch, growth, live, metrics, publish, queries, transitions
from benchmarks.table import summary

PARTS = (publish, batch, transitions, queries, live, growth, metrics)


def main() -> None:
    print(summary([line for part in PARTS for line in part.main(sys.argv[1:])]))


if __name__ == "__main__":
    main()
