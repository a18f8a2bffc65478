"""Batches over `POST /v1/events/batch`, each event one legal transition.

Limit: the same rows by raw executemany, as many transitions a commit.
"""

from argparse import Namespace

from benchmarks import raw
from benchmarks.client import load
from benchmarks.options import parser
from benchmarks.stage import Stage, postgresql, stage
from benchmarks.table import Line, Table
from benchmarks.workload import Fleet

FLOOR = {"sqlite": 0.35, "postgresql": 0.5}


def main(argv: list[str] | None = None) -> list[Line]:
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, default=100, help="events a batch")
    arguments.add_argument("--connections", type=int, default=4)
    options = arguments.parse_args(argv)
    table = Table(f"Batches of {options.size} (events/s)")
    with postgresql(options.databases) as postgres:
        for kind in options.databases:
            for server in options.servers:
                with stage(server, kind, postgres) as on:
                    measure(table, on, options)
    return table.lines


def measure(table: Table, on: Stage, options: Namespace) -> None:
    size, connections = options.size, options.connections
    fleet, other = on.seed(Fleet("batch")), on.seed(Fleet("raw"))

    def ours() -> tuple[float, str]:
        got = load(on.port, fleet.batches(on.key, connections, size), options.seconds)
        return got.rate * size, f"p50 {got.percentile(0.5):.0f} ms a batch"

    with raw.writer(on, other) as write:
        line = Line(f"{on.server}, {on.kind}, {connections} connections", f"raw, {size} a commit", FLOOR[on.kind])
        table.measure(line, options.runs, lambda: raw.rate(write, size, options.seconds), ours)


if __name__ == "__main__":
    main()
