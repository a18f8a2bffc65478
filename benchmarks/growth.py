"""What size costs: a small and a large log, a small and a large plan, and the server's memory over many events.

Both servers run at once and are measured by turns. The log is filled by copies of rows that the ledger has written.
"""

import sqlite3
from argparse import Namespace
from typing import Any

import psycopg

from benchmarks.client import Load, load
from benchmarks.options import parser
from benchmarks.queries import QUERIES, asked, seeded
from benchmarks.stage import Stage, memory, postgresql, stage
from benchmarks.table import Line, Table
from benchmarks.workload import Fleet
from tests.services.waiting import wait_until

MOST_FOR_LOG, MOST_FOR_PLAN, MOST_MEMORY = 1.3, 1.5, 1.1
CONNECTIONS = 8
PATIENCE = 300  # seconds for the kept counts to catch up with the copies
COPIED: tuple[tuple[str, str, set[str], set[str]], ...] = (  # table, its plan's key, its keys, its names
    ("tracker_plan", "id", {"id"}, {"plan_id", "correlation_id"}),
    ("tracker_task", "plan_id", {"id", "plan_id"}, {"task_id", "correlation_id", "agent"}),
    ("tracker_logrow", "plan_id", {"id", "plan_id", "task_id"}, {"event_id", "correlation_id"}),
)
KEYS = {"plan_id": "tracker_plan", "task_id": "tracker_task"}  # the tables of other tables' keys
UNCOUNTED = """
    SELECT (SELECT count(*) FROM tracker_rollupdue)
        + (SELECT max(id) FROM tracker_logrow) - (SELECT log FROM tracker_rolluphead)"""


def main(argv: list[str] | None = None) -> list[Line]:
    arguments = parser(__doc__)
    arguments.add_argument("--small", type=int, default=10_000, help="log rows")
    arguments.add_argument("--large", type=int, default=1_000_000, help="log rows")
    arguments.add_argument("--tasks", type=int, default=10_000, help="of the large plan; the small one has 10")
    arguments.add_argument("--events", type=int, default=200_000, help="over which the memory is watched")
    arguments.set_defaults(servers=["uvicorn"])
    options = arguments.parse_args(argv)
    lines = []
    with postgresql(options.databases) as postgres:
        for kind in options.databases:
            for server in options.servers:
                with stage(server, kind, postgres) as small, stage(server, kind, postgres) as large:
                    lines += of_the_log(small, large, options)
                    lines += of_a_plan(small, options)
                with stage(server, kind, postgres) as on:
                    lines += of_memory(on, options.events)
    return lines


def of_the_log(small: Stage, large: Stage, options: Namespace) -> list[Line]:
    """The cost of a publish and of each query: time on the large log to time on the small one."""
    table = Table(f"{small.server}, {small.kind}: {options.large:,} log rows to {options.small:,} (time a request)")
    names, fleets = {}, {}
    for on, rows in ((small, options.small), (large, options.large)):
        names[on.port] = seeded(on, Fleet("asked", plans=1, tasks=10))
        fleets[on.port] = on.seed(Fleet("grow", plans=20, tasks=10))
        fill(on, fleets[on.port], rows)

    def publish(on: Stage) -> float:
        return took(load(on.port, fleets[on.port].publish(on.key, CONNECTIONS), options.seconds))

    def query(on: Stage, path: str) -> float:
        return took(asked(on, path.format(**names[on.port]), CONNECTIONS, options.seconds))

    def compare(what: str, of: Any, *more: Any) -> None:
        line = Line(what, f"{options.small:,} rows", most=MOST_FOR_LOG, unit=" ms")
        table.measure(line, options.runs, lambda: of(small, *more), lambda: of(large, *more))

    for on in (small, large):  # what has to be read from the disk once is read now
        publish(on)
    compare("publish", publish)
    for name, (path, _) in QUERIES.items():
        compare(name, query, path)
    return table.lines


def of_a_plan(on: Stage, options: Namespace) -> list[Line]:
    """The cost of plan progress and of a publish: time with the large plan to time with the small one."""
    table = Table(f"{on.server}, {on.kind}: a plan of {options.tasks:,} tasks to one of 10 (time a request)")
    small, large = on.seed(Fleet("small", plans=1, tasks=10)), on.seed(Fleet("large", plans=1, tasks=options.tasks))

    def progress(fleet: Fleet, more: str = "") -> float:
        return took(asked(on, f"/v1/tracker/plans/{fleet.plans[0]}{more}", CONNECTIONS, options.seconds))

    def publish(fleet: Fleet) -> float:
        return took(load(on.port, fleet.publish(on.key, CONNECTIONS), options.seconds))

    for what, of in (("plan progress", progress), ("publish", publish)):
        line = Line(what, "10 tasks", most=MOST_FOR_PLAN, unit=" ms")
        table.measure(line, options.runs, lambda of=of: of(small), lambda of=of: of(large))
    return table.lines


def of_memory(on: Stage, events: int) -> list[Line]:
    """The server's memory after so many events, in batches, to that after the first tenth of them."""
    table = Table(f"{on.server}, {on.kind}: memory of the server over {events:,} events")
    fleet = on.seed(Fleet("memory"))
    run(on, fleet, events // 10)
    line = Line("resident memory", f"after {events // 10:,}", most=MOST_MEMORY, unit=" MB")
    line.limit.append(memory(on.process.pid))
    run(on, fleet, events - events // 10)
    line.ours.append(memory(on.process.pid))
    table.add(line)
    return table.lines


def run(on: Stage, fleet: Fleet, events: int, size: int = 100) -> None:
    """So many events in batches."""
    turns = [iter([next(batches) for _ in range(events // size // 4)]) for batches in fleet.batches(on.key, 4, size)]
    load(on.port, turns)


def took(got: Load) -> float:
    """Milliseconds of a request, in the middle."""
    return got.percentile(0.5)


def fill(on: Stage, fleet: Fleet, rows: int) -> None:
    """Copy the fleet's plans, tasks and log inside the database until the log has so many rows."""
    sqlite = on.kind == "sqlite"
    connection: Any = sqlite3.connect(on.database) if sqlite else psycopg.connect(on.database)
    with connection:
        names = ", ".join(f"'{plan}'" for plan in fleet.plans)
        plans = f"SELECT id FROM tracker_plan WHERE plan_id IN ({names})"
        each = connection.execute(f"SELECT count(*) FROM tracker_logrow WHERE plan_id IN ({plans})").fetchone()[0]
        there = connection.execute("SELECT count(*) FROM tracker_logrow").fetchone()[0]
        if copies := max(0, rows - there) // each:
            steps = {
                name: connection.execute(f"SELECT max(id) FROM {name}").fetchone()[0] for name, *_ in COPIED
            }  # between the keys of two copies: so they are as close as tasks that came one by one
            for name, key, *columns in COPIED:
                _copy(connection, steps, name, f"s.{key} IN ({plans})", copies, *columns)
                if not sqlite:
                    newest = f"(SELECT max(id) FROM {name})"
                    connection.execute(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), {newest})")
    connection.close()
    # The filling is over only when the server has counted it, and it has reached the tables' files: afterwards nobody
    # pays for it any more.
    on.seed(Fleet("after", plans=1, tasks=1))  # the server looks at what is new when it commits something
    fresh: Any = sqlite3.connect(on.database) if sqlite else psycopg.connect(on.database, autocommit=True)
    wait_until(lambda: fresh.execute(UNCOUNTED).fetchone()[0] == 0, PATIENCE)
    for statement in ("PRAGMA wal_checkpoint(TRUNCATE)",) if sqlite else ("VACUUM ANALYZE", "CHECKPOINT"):
        fresh.execute(statement)
    fresh.close()


def _copy(
    connection: Any, steps: dict[str, int], name: str, where: str, copies: int, keys: set[str], names: set[str]
) -> None:
    """Copy rows of a table so many times; each copy has keys and names of its own."""
    columns = [column[0] for column in connection.execute(f"SELECT * FROM {name} LIMIT 0").description]
    new = {column: f's."{column}" + c.i * {steps[KEYS.get(column, name)]}' for column in keys}
    new |= {column: f"s.\"{column}\" || '-' || c.i" for column in names}
    values = ", ".join(new.get(column, f's."{column}"') for column in columns)
    listed = ", ".join(f'"{column}"' for column in columns)
    count = f"SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {copies}"
    numbers = f"(WITH RECURSIVE n(i) AS ({count}) SELECT i FROM n)"
    connection.execute(f"INSERT INTO {name} ({listed}) SELECT {values} FROM {name} s, {numbers} c WHERE {where}")


if __name__ == "__main__":
    main()
