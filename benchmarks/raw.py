"""The limit of a database: the rows that the ledger writes, by plain SQL with nothing decided, in the same tables.

Templates are rows that the ledger has written: a message and its transition; their task and plan change with them.
Everything stands in the same database as the server's own; it is idle meanwhile.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

import psycopg

from benchmarks.stage import Stage
from benchmarks.workload import Fleet, event_id

TASK = "UPDATE tracker_task SET state = {0}, version = {0}, updated_at = {0} WHERE id = {0} AND version = {0}"
PLAN = "UPDATE tracker_plan SET seq = {0}, updated_at = {0} WHERE id = {0}"
Write = Callable[[int], None]  # so many transitions, one commit


class Rows:
    """Makes, for transition after transition of a fleet, the values of the four statements."""

    def __init__(self, execute: Callable[[str], Any], plans: Sequence[str], mark: str):
        names = ", ".join(f"'{plan}'" for plan in plans)
        rows = execute(f"SELECT id, seq FROM tracker_plan WHERE plan_id IN ({names})").fetchall()
        self._seqs = {key: count(seq + 1) for key, seq in rows}
        keys = ", ".join(map(str, self._seqs))
        tasks = execute(f"SELECT id, plan_id, version FROM tracker_task WHERE plan_id IN ({keys})")
        self._tasks = [list(row) for row in tasks.fetchall()]
        self.insert = ""
        self._templates = {}
        for kind in ("message", "transition"):
            of_one = f"plan_id = {self._tasks[0][1]} AND kind = '{kind}'"
            found = execute(f"SELECT * FROM tracker_logrow WHERE {of_one} ORDER BY id DESC LIMIT 1")
            names = [column[0] for column in found.description]
            template = dict(zip(names, found.fetchone(), strict=True))
            del template["id"]
            self._templates[kind] = template
        self.columns = list(template)
        listed = ", ".join(f'"{name}"' for name in self.columns)
        self.insert = f"INSERT INTO tracker_logrow ({listed}) VALUES ({', '.join([mark] * len(self.columns))})"
        self.task, self.plan = TASK.format(mark), PLAN.format(mark)
        self.now = template["recorded_at"]
        self._turn = self._endless()

    def _endless(self) -> Iterator[tuple[list[Any], ...]]:
        while True:
            for task in self._tasks:
                yield self._next(task)

    def _next(self, task: list[Any]) -> tuple[list[Any], ...]:
        key, plan, version = task
        task[2] = version + 1
        state = "waiting" if version % 2 else "running"
        event, seqs = event_id(), self._seqs[plan]
        more = {"plan_id": plan, "task_id": key, "event_id": event}
        message = self._templates["message"] | more | {"seq": next(seqs)}
        moved = self._templates["transition"] | more | {"seq": next(seqs), "to_state": state, "version": version + 1}
        return (
            [state, version + 1, self.now, key, version],
            [moved["seq"], self.now, plan],
            list(message.values()),
            list(moved.values()),
        )

    def take(self, size: int) -> tuple[list[Any], list[Any], list[Any]]:
        """Lines for `task`, for `plan` (one a plan) and for `insert`, of so many transitions."""
        made = list(islice(self._turn, size))
        plans = {line[1][2]: line[1] for line in made}
        return [line[0] for line in made], list(plans.values()), [row for line in made for row in line[2:]]


def rate(write: Write, size: int, seconds: float) -> float:
    """Transitions a second, `size` a commit."""
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        write(size)
        done += size
    return done / (time.perf_counter() - begin)


@contextmanager
def writer(stage: Stage, fleet: Fleet) -> Iterator[Write]:
    """What writes so many transitions of the fleet in one commit."""
    opened = _sqlite if stage.kind == "sqlite" else _postgresql
    with opened(stage.database, fleet.plans) as write:
        yield write


@contextmanager
def _sqlite(path: str, plans: Sequence[str]) -> Iterator[Write]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32000; PRAGMA foreign_keys=ON"
    )
    rows = Rows(connection.execute, plans, "?")

    def write(size: int) -> None:
        tasks, heads, log = rows.take(size)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(rows.task, tasks)
        connection.executemany(rows.plan, heads)
        connection.executemany(rows.insert, log)
        connection.execute("COMMIT")

    try:
        yield write
    finally:
        connection.close()


@contextmanager
def _postgresql(url: str, plans: Sequence[str]) -> Iterator[Write]:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = Rows(connection.execute, plans, "%s")

        def write(size: int) -> None:
            tasks, heads, log = rows.take(size)
            with connection.pipeline(), connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(rows.task, tasks)
                cursor.executemany(rows.plan, heads)
                cursor.executemany(rows.insert, log)

        yield write
