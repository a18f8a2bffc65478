"""Tasks moved one by one over `POST /v1/tracker/tasks/{id}/transitions`.

Limits: a bare ASGI endpoint under the same server; the same rows by raw SQL, one commit each, on one connection.
"""

from benchmarks import raw
from benchmarks.client import load
from benchmarks.options import parser, with_connections
from benchmarks.stage import Stage, flood, postgresql, stage
from benchmarks.table import Line, Table
from benchmarks.workload import Fleet


def main(argv: list[str] | None = None) -> list[Line]:
    options = with_connections(parser(__doc__)).parse_args(argv)
    table = Table("Task transitions, one a request (transitions/s)")
    with postgresql(options.databases) as postgres:
        for kind in options.databases:
            for server in options.servers:
                with stage(server, kind, postgres) as on:
                    measure(table, on, options.connections, options.runs, options.seconds)
    return table.lines


def measure(table: Table, on: Stage, connections: list[int], runs: int, seconds: float) -> None:
    fleet = on.seed(Fleet("transitions"))

    def ours(number: int) -> tuple[float, str]:
        got = load(on.port, fleet.transitions(on.key, number), seconds)
        return got.rate, f"p50 {got.percentile(0.5):.1f} ms, p99 {got.percentile(0.99):.1f} ms"

    with raw.writer(on, on.seed(Fleet("raw"))) as write:
        for number in connections:
            what = f"{on.server}, {on.kind}, {number} connections"
            bare = Line(what, "bare ASGI")
            table.measure(bare, runs, lambda n=number: flood(on.bare_port, n, seconds).rate, lambda n=number: ours(n))
            sql = Line(what, "raw SQL, 1 a commit", ours=list(bare.ours), note=bare.note)
            sql.limit = [raw.rate(write, 1, seconds / 2) for _ in range(runs)]
            table.add(sql)


if __name__ == "__main__":
    main()
