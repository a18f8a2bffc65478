"""Figures over a million tasks: an agent's metrics by kept counts, beside the same numbers counted again from the rows.

All tasks are of one agent, over thirty days, made by the database itself. The limits are milliseconds of one answer.
"""

import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from benchmarks.options import parser
from benchmarks.stage import postgresql
from benchmarks.table import Line, Table

MOST_MS = 50
NUMBERS = {
    "sqlite": "(WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {tasks}) SELECT i FROM c) n",
    "postgresql": "generate_series(1, {tasks}) AS n(i)",
}
MOMENT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch')",
    "postgresql": "to_timestamp({seconds})",
}


def main(argv: list[str] | None = None) -> list[Line]:
    arguments = parser(__doc__)
    arguments.add_argument("--tasks", type=int, default=1_000_000)
    options = arguments.parse_args(argv)
    table = Table(f"An agent's metrics over {options.tasks:,} tasks (ms an answer)")
    with postgresql(options.databases) as postgres:
        for kind in options.databases:
            with TemporaryDirectory() as folder:
                url = postgres.new_database() if postgres and kind == "postgresql" else ""
                told = _in_a_process(folder, url, kind, options.tasks)
            took, again, counted = (float(part) for part in told.split())
            line = Line(f"{kind}, 30 days", "counted again", most=MOST_MS, unit=" ms", note=f"kept in {counted:.0f} s")
            line.ours.append(took)
            table.add(line)
            table.add(Line(f"{kind}, counted again from the rows", unit=" ms", ours=[again]))
    return table.lines


def _in_a_process(folder: str, url: str, kind: str, tasks: int) -> str:
    """A process for each database: Django's settings are read once."""
    env = {
        **os.environ,
        "SOORMA_DATA_DIR": folder,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "soorma_site.settings",
    }
    argv = [sys.executable, "-m", "benchmarks.metrics", "measure", kind, str(tasks)]
    done = subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def measure(kind: str, tasks: int) -> None:
    """Fill, count, ask; prints milliseconds of an answer, of counting again, and seconds of keeping the counts."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import Workspace
    from tracker import rollups
    from tracker.metrics import agent_metrics
    from tracker.projections.lookup import Sight

    call_command("migrate", verbosity=0)
    workspace = Workspace.objects.create(name="million").pk
    fill(_driver(kind, connection.settings_dict), kind, workspace, tasks)
    begun = time.perf_counter()
    rollups.catch_up()
    counted = time.perf_counter() - begun
    sight = Sight(workspace)

    def ask() -> Any:
        return agent_metrics(sight, "parts-worker", "31d")

    kept, took = ask(), _ms(ask, 15)
    rollups.RollupHead.objects.all().delete()  # nothing is kept any more
    again, slow = ask(), _ms(ask, 1)
    same = kept == again
    if not same or kept["total_tasks"] != tasks:
        raise SystemExit(f"not the same: {kept} and {again}")
    print(took, slow, counted)


def _ms(ask: Any, times: int) -> float:
    each = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        each.append(1000 * (time.perf_counter() - begun))
    return median(each)


def _driver(kind: str, settings: dict[str, Any]) -> Any:
    if kind == "sqlite":
        return sqlite3.connect(Path(settings["NAME"]), isolation_level=None)
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def fill(connection: Any, kind: str, workspace: int, tasks: int) -> None:
    """Plans of a thousand tasks of one agent, spread over thirty days, one in twenty failed."""
    now = int(datetime.now(UTC).timestamp())

    def at(seconds: str) -> str:
        return MOMENT[kind].format(seconds=seconds)

    numbers = NUMBERS[kind].format(tasks=tasks)
    plans = NUMBERS[kind].format(tasks=tasks // 1000 + 1)
    began = f"({now} - 2592000.0 + i * {2_591_000 / tasks})"
    waited, worked = (
        f"({began} + (i % 9973 * 7919 % 9973) / 1000.0)",
        f"({began} + (i % 9973 * 7919 % 9973 + i % 10007 * 104729 % 299993) / 1000.0)",
    )
    _insert(connection, "tracker_plan", f"SELECT {{}} FROM {plans}", {
        "id": "i", "workspace_id": str(workspace), "tenant_id": "'t'", "plan_id": "'p-' || i", "state": "'completed'",
        "created_at": at(str(now)), "updated_at": at(str(now)),
    })  # fmt: skip
    _insert(connection, "tracker_task", f"SELECT {{}} FROM {numbers}", {
        "id": "i", "plan_id": "i / 1000 + 1", "workspace_id": str(workspace), "tenant_id": "'t'",
        "task_id": "'t-' || i", "name": "'n'", "label": "'n'", "event_type": "'parts.check.requested'",
        "state": "CASE WHEN i % 20 = 0 THEN 'failed' ELSE 'completed' END", "agent": "'parts-worker'",
        "agent_id": "'w-' || i % 4", "position": "i", "created_at": at(began), "started_at": at(waited),
        "ended_at": at(worked), "updated_at": at(worked),
    })  # fmt: skip
    connection.execute("ANALYZE")


def _insert(connection: Any, table: str, select: str, given: dict[str, str]) -> None:
    """Rows with the given columns as expressions of i; the others as the models would fill them in."""
    from django.apps import apps

    model = next(one for one in apps.get_app_config("tracker").get_models() if one._meta.db_table == table)
    values = {}
    for field in model._meta.concrete_fields:
        if field.column in given:
            values[field.column] = given[field.column]
        elif not field.null:
            default = field.get_default()
            values[field.column] = str(default).upper() if isinstance(default, bool) else repr(default)
    columns = ", ".join(f'"{name}"' for name in values)
    connection.execute(f"INSERT INTO {table} ({columns}) {select.format(', '.join(values.values()))}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
