"""The five queries of the SDK, each beside the one SELECT that it needs; plan progress beside a trivial endpoint too.

The SELECT runs alone, by the driver, on one connection. The trivial endpoint is one of the same app: key, middleware
and all.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from benchmarks.client import load, request
from benchmarks.options import parser
from benchmarks.stage import Stage, postgresql, stage
from benchmarks.table import Line, Table
from benchmarks.workload import TENANT, USER, WORKER, Fleet

TRIVIAL = 0.5
_PLAN = "SELECT id FROM tracker_plan WHERE workspace_id = 1 AND plan_id = '{plan}'"
QUERIES = {
    "progress": (
        "/v1/tracker/plans/{plan}",
        "SELECT p.*, t.name, t.task_id, t.state, t.agent, t.progress, t.stalled, t.attempt FROM tracker_plan p"
        " LEFT JOIN tracker_task t ON t.plan_id = p.id WHERE p.workspace_id = 1 AND p.plan_id = '{plan}'"
        " ORDER BY t.position",
    ),
    "actions": (
        "/v1/tracker/plans/{plan}/actions",
        "SELECT task_id, event_type, state, created_at, started_at, ended_at, progress FROM tracker_task"
        f" WHERE plan_id = ({_PLAN}) ORDER BY position",
    ),
    "timeline": (
        "/v1/tracker/plans/{plan}/timeline",
        "SELECT r.event_id, r.type, r.occurred_at, r.parent_event_id, r.seq, r.topic, r.source, t.task_id"
        " FROM tracker_logrow r LEFT JOIN tracker_task t ON t.id = r.task_id"
        f" WHERE r.plan_id = ({_PLAN}) AND r.kind = 'message' ORDER BY r.seq",
    ),
    "metrics": (
        "/v1/tracker/metrics?agent_id={agent}&period=1h",
        "SELECT count(*), count(CASE WHEN state = 'completed' THEN 1 END), count(CASE WHEN state = 'failed' THEN 1 END)"
        " FROM tracker_task WHERE workspace_id = 1 AND agent = '{agent}'",
    ),
    "delegation": (
        "/v1/tracker/delegation-groups/{group}",
        "SELECT l.key, l.done, l.created_at, t.state FROM tracker_link l LEFT JOIN tracker_task t ON t.workspace_id = 1"
        " AND t.task_id = l.key AND t.tenant_id = l.tenant_id"
        " WHERE l.workspace_id = 1 AND l.kind = 'subtask' AND l.group_id = '{group}'",
    ),
}  # fmt: skip


def main(argv: list[str] | None = None) -> list[Line]:
    arguments = parser(__doc__)
    arguments.add_argument("--connections", type=int, default=4)
    arguments.add_argument("--tasks", type=int, default=10, help="of the plan that is asked for")
    options = arguments.parse_args(argv)
    table = Table(f"The five queries, plan of {options.tasks} tasks (answers/s)")
    with postgresql(options.databases) as postgres:
        for kind in options.databases:
            for server in options.servers:
                with stage(server, kind, postgres, DJANGO_SETTINGS_MODULE="benchmarks.settings") as on:
                    measure(table, on, options.connections, options.runs, options.seconds, options.tasks)
    return table.lines


def measure(table: Table, on: Stage, connections: int, runs: int, seconds: float, tasks: int) -> None:
    names = seeded(on, Fleet("asked", plans=1, tasks=tasks))

    def trivial() -> float:
        return asked(on, "/v1/trivial", connections, seconds).rate

    def ours(path: str) -> tuple[float, str]:
        got = asked(on, path, connections, seconds)
        return got.rate, f"p50 {got.percentile(0.5):.1f} ms"

    for name, (pattern, query) in QUERIES.items():
        what, path = f"{on.server}, {on.kind}, {name}", pattern.format(**names)
        if name == "progress":
            table.measure(Line(what, "trivial endpoint", TRIVIAL), runs, trivial, lambda p=path: ours(p))
        with selecting(on, query.format(**names)) as select:
            table.measure(Line(what, "its SELECT"), runs, lambda: select(seconds / 4), lambda p=path: ours(p))


def asked(on: Stage, path: str, connections: int, seconds: float) -> Any:
    """Ask the server for a path, again and again."""
    one = request("GET", path, key=on.key, X_Tenant_ID=TENANT)

    def endless() -> Iterator[bytes]:
        while True:
            yield one

    return load(on.port, [endless() for _ in range(connections)], seconds)


def seeded(on: Stage, fleet: Fleet) -> dict[str, str]:
    """Make the plan, and a delegation group of three; the names that the queries ask for."""
    on.seed(fleet)
    plan, parent = fleet.tasks[0]
    group = f"{plan}-group"
    subs = [f"{plan}-sub-{n}" for n in range(3)]
    context = {
        "task_id": parent, "plan_id": plan, "event_type": "parts.check.requested", "data": {}, "sub_tasks": subs,
        "state": {"_sub_tasks": {sub: {"parallel_group_id": group, "status": "pending"} for sub in subs}},
        "user_id": USER,
    }  # fmt: skip
    path, body = f"/v1/memory/task-context?tenant_id={TENANT}&user_id={USER}", json.dumps(context).encode()
    load(on.port, [iter([request("POST", path, body, key=on.key)])])
    return {"plan": plan, "agent": WORKER, "group": group}


@contextmanager
def selecting(on: Stage, query: str) -> Iterator[Callable[[float], float]]:
    """What runs a query for so many seconds and gives its rate."""
    connection: Any = (
        sqlite3.connect(on.database) if on.kind == "sqlite" else psycopg.connect(on.database, autocommit=True)
    )

    def select(seconds: float) -> float:
        begin, done = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            if not connection.execute(query).fetchall():
                raise RuntimeError(f"nothing found by {query}")
            done += 1
        return done / (time.perf_counter() - begin)

    try:
        yield select
    finally:
        connection.close()


if __name__ == "__main__":
    main()
