"""Events one by one over `POST /v1/events/publish`, each one legal transition of a task.

Limits: a bare ASGI endpoint under the same server that reads the body and answers as many bytes; on PostgreSQL also
psycopg that writes the same rows, one commit a transition, on one connection.
"""

from benchmarks import raw
from benchmarks.client import load
from benchmarks.options import parser, with_connections
from benchmarks.stage import Stage, flood, postgresql, stage
from benchmarks.table import Line, Table
from benchmarks.workload import Fleet

BARE = {"daphne": 0.45, "uvicorn": 0.15}
RAW = {"daphne": 1.3, "uvicorn": 3.0}


def main(argv: list[str] | None = None) -> list[Line]:
    options = with_connections(parser(__doc__)).parse_args(argv)
    table = Table("Publish, one event a request (events/s)")
    with postgresql(options.databases) as postgres:
        for kind in options.databases:
            for server in options.servers:
                with stage(server, kind, postgres) as on:
                    measure(table, on, options.connections, options.runs, options.seconds)
    return table.lines


def measure(table: Table, on: Stage, connections: list[int], runs: int, seconds: float) -> None:
    fleet = on.seed(Fleet("publish"))

    def ours(number: int) -> tuple[float, str]:
        got = load(on.port, fleet.publish(on.key, number), seconds)
        return got.rate, f"p50 {got.percentile(0.5):.1f} ms, p99 {got.percentile(0.99):.1f} ms"

    for number in connections:
        what = f"{on.server}, {on.kind}, {number} connections"
        floor = BARE[on.server] if number == 64 and on.kind == "sqlite" else None
        line = Line(what, "bare ASGI", floor)
        table.measure(line, runs, lambda n=number: flood(on.bare_port, n, seconds).rate, lambda n=number: ours(n))
        if on.kind == "postgresql":
            raw_floor = RAW[on.server] if number == 64 else None
            with raw.writer(on, on.seed(Fleet("raw"))) as write:
                one = Line(what, "psycopg, 1 a commit", raw_floor)
                table.measure(one, runs, lambda: raw.rate(write, 1, seconds), lambda n=number: ours(n))


if __name__ == "__main__":
    main()
