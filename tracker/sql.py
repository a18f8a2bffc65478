"""The ledger's SQL: what it reads and writes, set-based, on SQLite and PostgreSQL alike.

Records mirror table rows column by column. Times inside records are the database's own values (see `native`), so that
a row that was read can be written back untouched.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import compress
from operator import attrgetter, ne
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Model

from tracker.models import Link, LogRow, Plan, Task

Native = Any  # a time as the database's driver takes and gives it
Line = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class PlanRecord:
    """A row of the plans' table."""

    id: int
    workspace_id: int
    tenant_id: str
    plan_id: str
    created_at: Native
    updated_at: Native
    user_id: str = ""
    state: str = ""
    version: int = 0
    seq: int = 0
    goal_event: str = ""
    goal_data: str = "{}"
    response_event: str = ""
    correlation_id: str = ""
    session_id: str = ""
    parent_plan_id: str = ""
    trace_id: str = ""
    planner: str = ""
    current_state: str = ""
    governed: bool = False
    closed_by: str = ""
    held: bool = False
    waiting_for: str = ""
    told_at: Native = None
    total_actions: int | None = None
    error: str = ""
    task_count: int = 0
    completed_tasks: int = 0
    failed_tasks: int = 0
    cancelled_tasks: int = 0
    unmatched: int = 0
    goal_task_id: int | None = None
    started_at: Native = None
    completed_at: Native = None
    as_read: Line = ()

    @property
    def open_tasks(self) -> int:
        """Tasks that have not ended."""
        return self.task_count - self.completed_tasks - self.failed_tasks - self.cancelled_tasks


@dataclass(slots=True, eq=False)
class TaskRecord:
    """A row of the tasks' table."""

    id: int
    plan_id: int
    workspace_id: int
    tenant_id: str
    task_id: str
    name: str
    label: str
    ordinal: int
    event_type: str
    position: int
    created_at: Native
    updated_at: Native
    state: str = ""
    version: int = 0
    attempt: int = 1
    given_up: int = 0
    agent: str = ""
    agent_id: str = ""
    parent_id: int | None = None
    correlation_id: str = ""
    response_event: str = ""
    request_event_id: str = ""
    digest: str = ""
    aliased: bool = False
    progress: float | None = None
    message: str = ""
    stalled: bool = False
    stalled_reason: str = ""
    stalled_at: Native = None
    timeout: float | None = None
    error: str = ""
    started_at: Native = None
    ended_at: Native = None
    as_read: Line = ()


@dataclass(slots=True, eq=False)
class RowRecord:
    """A row of the log's table. Its first two times, one behind the other, are datetimes."""

    id: int
    workspace_id: int
    tenant_id: str
    kind: str
    type: str
    by: str
    occurred_at: datetime
    recorded_at: datetime
    user_id: str = ""
    plan_id: int | None = None
    seq: int | None = None
    event_id: str = ""
    task_id: int | None = None
    from_state: str | None = None
    to_state: str | None = None
    version: int | None = None
    reason: str = ""
    inferred: bool = False
    refused: bool = False
    topic: str = ""
    source: str = ""
    correlation_id: str = ""
    parent_event_id: str = ""
    trace_id: str = ""
    data: str = "{}"
    envelope: str = "{}"
    task_ref: str = ""
    unmatched: bool = False
    handed_to: str = ""
    handed_id: str = ""
    handed_at: Native = None
    attempt: int = 1
    as_read: Line = ()


@dataclass(slots=True, eq=False)
class LinkRecord:
    """A row of the links' table."""

    id: int
    workspace_id: int
    tenant_id: str
    kind: str
    key: str
    created_at: Native
    plan_id: int | None = None
    task_id: int | None = None
    context_key: str = ""
    group_id: str = ""
    done: bool = False
    as_read: Line = ()


Record = PlanRecord | TaskRecord | RowRecord | LinkRecord
R = TypeVar("R", PlanRecord, TaskRecord, RowRecord, LinkRecord)

_BINARY = 1  # psycopg's number for the format in which PostgreSQL sends values as it holds them
_MARK = re.compile("(?<!%)%s")
_MODELS: dict[type, type[Model]] = {PlanRecord: Plan, TaskRecord: Task, RowRecord: LogRow, LinkRecord: Link}
_TABLES = {record: model._meta.db_table for record, model in _MODELS.items()}
# `as_read`, the last field of each: the values of the row as it was read.
_COLUMNS: dict[type, tuple[str, ...]] = {record: tuple(f.name for f in fields(record)[:-1]) for record in _TABLES}
_LISTED = {record: ", ".join(f'"{name}"' for name in names) for record, names in _COLUMNS.items()}
# To SQLite a column with a sign is an expression without a type: Django's converter does not parse such times into
# datetimes.
_READ_SQLITE = {
    record: ", ".join(f'+"{name}"' if name.endswith("_at") else f'"{name}"' for name in names)
    for record, names in _COLUMNS.items()
}
_VALUES: dict[type, Callable[[Any], tuple[Any, ...]]] = {r: attrgetter(*names) for r, names in _COLUMNS.items()}


@cache
def on_postgresql() -> bool:
    """Whether the default database is PostgreSQL."""
    return connection.vendor == "postgresql"


def native(at: datetime) -> Native:
    """A time as the database takes it in plain SQL."""
    return at if on_postgresql() else _sqlite_text(at)


@lru_cache(maxsize=4096)
def _sqlite_text(at: datetime) -> str:
    # A batch writes its own time some ten times a row.
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def as_datetime(value: Native) -> datetime:
    """A time as the database gives it in plain SQL, with its zone."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def columns(record: type) -> tuple[str, ...]:
    """The column names of a record, in the order of its fields."""
    return _COLUMNS[record]


def marks(values: Sequence[Any]) -> str:
    """Placeholders for an IN list."""
    return ", ".join(["%s"] * len(values))


def among(wanted: Mapping[str, Iterable[Any]]) -> tuple[str, list[Any]]:
    """A condition, and its values: each column (or expression) is one of those.

    There are few texts of it, so that the drivers keep statements prepared: on PostgreSQL a list is one value (and
    plans do not depend on how many it has), on SQLite it is as long as a power of two.
    """
    if on_postgresql():
        return " AND ".join(f"{column} = ANY(%b)" for column in wanted), [sorted(values) for values in wanted.values()]
    lists = {column: _padded(sorted(values)) for column, values in wanted.items()}
    where = " AND ".join(f"{column} IN ({marks(values)})" for column, values in lists.items())
    return where, [value for values in lists.values() for value in values]


def _padded(values: list[Any]) -> list[Any]:
    room = 1 << (len(values) - 1).bit_length() if values else 0
    return values + values[-1:] * (room - len(values))


def select(record: type[R], where: str, values: Sequence[Any], *, tail: str = "", lock: bool = False) -> list[R]:
    """Rows that fit, as records.

    `lock`: until the end of the transaction (on SQLite the writer holds the only lock anyway).
    """
    lock_clause = " FOR UPDATE" if lock and on_postgresql() else ""
    listed = _LISTED[record] if on_postgresql() else _READ_SQLITE[record]
    lines = rows(f"SELECT {listed} FROM {_TABLES[record]} WHERE {where} {tail}{lock_clause}", values)
    make: Callable[..., R] = record
    found = [make(*line, line) for line in lines]
    for row in found:
        if isinstance(row, RowRecord):
            row.occurred_at, row.recorded_at = as_datetime(row.occurred_at), as_datetime(row.recorded_at)
    return found


def rows(query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query of the ledger's own."""
    with _Statement(query) as (cursor, text):
        cursor.execute(text, values)
        return list(cursor.fetchall())


def execute(query: str, values: Sequence[Any] = ()) -> int:
    """Run one statement; gives the number of rows that it touched."""
    with _Statement(query) as (cursor, text):
        cursor.execute(text, values)
        return int(cursor.rowcount)


class _Statement:
    """A cursor, and the statement as it takes it; what the driver raises comes out as Django's.

    The cursor is the driver's own, unless somebody counts or wraps statements. Django's would rewrite each text on
    SQLite; on PostgreSQL it writes the values into the text, which has to be read and planned anew each time, and takes
    the answer as text, whose times cost more to read than all else.
    """

    __slots__ = ("_cursor", "_query", "_wrapper")

    def __init__(self, query: str) -> None:
        self._query = query
        self._wrapper = connections[DEFAULT_DB_ALIAS]  # asked once: `connection` looks for it at every attribute

    def __enter__(self) -> tuple[Any, str]:
        wrapper = self._wrapper
        if wrapper.queries_logged or wrapper.execute_wrappers:
            self._cursor: Any = wrapper.cursor()
            return self._cursor, self._query
        wrapper.ensure_connection()
        if not on_postgresql():
            self._cursor = wrapper.connection.cursor()
            return self._cursor, _qmarks(self._query)
        from psycopg import Cursor

        self._cursor = Cursor(wrapper.connection)
        self._cursor.format = _BINARY
        return self._cursor, self._query

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._cursor.close()
        self._wrapper.wrap_database_errors.__exit__(kind, error, traceback)


@lru_cache(maxsize=512)
def _qmarks(query: str) -> str:
    return _MARK.sub("?", query).replace("%%", "%")


def take_ids(record: type, count: int) -> list[int]:
    """Primary keys for `count` new rows, ascending; unique because SQLite has one writer and PostgreSQL a sequence."""
    table = _TABLES[record]
    if on_postgresql():
        # Materialized: the name of the sequence is looked up once, not for each key.
        query = f"""
            WITH sequence AS MATERIALIZED (SELECT pg_get_serial_sequence('{table}', 'id')::regclass AS name)
            SELECT nextval(sequence.name) FROM sequence, generate_series(1, %s)"""
        return sorted(row[0] for row in rows(query, [count]))
    # AUTOINCREMENT's own memory, so that a key is never used twice even after the newest row was deleted.
    last = rows("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
    first = last[0][0] + 1 if last else 1
    return list(range(first, first + count))


def insert(records: Sequence[Record]) -> None:
    """Insert records of one kind."""
    if not records:
        return
    kind: type = type(records[0])
    names, lines = _COLUMNS[kind], list(map(_VALUES[kind], records))
    into = f"{_TABLES[kind]} ({_LISTED[kind]})"
    if kind is RowRecord and not on_postgresql():
        at = names.index("occurred_at")
        lines = [(*line[:at], _sqlite_text(line[at]), _sqlite_text(line[at + 1]), *line[at + 2 :]) for line in lines]
    if on_postgresql():
        _copy(into, _types(kind, names), lines)
    else:
        _write(f"INSERT INTO {into} VALUES ({marks(names)})", lines)


def _copy(into: str, types: list[str], lines: Sequence[Line]) -> None:
    # A third of what as many statements cost, for us and for the database.
    with _Statement(f"COPY {into} FROM STDIN (FORMAT BINARY)") as (cursor, text), cursor.copy(text) as copy:
        copy.set_types(types)
        for line in lines:
            copy.write_row(line)


def update(records: Sequence[Record], names: tuple[str, ...], *, versions: Sequence[int] | None = None) -> int:
    """Write the named columns of records of one kind; with `versions`, only rows still at that version.

    Gives the rows written.
    """
    if not records:
        return 0
    kind: type = type(records[0])
    lines = list(map(_reader_of((*names, "id")), records))
    if versions is not None:
        lines = [(*line, version) for line, version in zip(lines, versions, strict=True)]
    if on_postgresql():
        with _Statement(_update_at_once(kind, names, versions is not None)) as (cursor, text):
            return int(cursor.execute(text, list(map(list, zip(*lines, strict=True)))).rowcount)
    assignments = ", ".join(f'"{name}" = %s' for name in names)
    guard = " AND version = %s" if versions is not None else ""
    return _write(f"UPDATE {_TABLES[kind]} SET {assignments} WHERE id = %s{guard}", lines)


@cache
def _update_at_once(kind: type, names: tuple[str, ...], guarded: bool) -> str:
    """One statement for all lines, its values as arrays in binary: half of what one a line costs PostgreSQL, and us."""
    types = _types(kind, (*names, "id", *(["version"] if guarded else ())))
    assignments = ", ".join(f'"{name}" = new."{name}"' for name in names)
    listed = ", ".join((*(f'"{name}"' for name in names), "id", *(["was"] if guarded else ())))
    return (
        f"UPDATE {_TABLES[kind]} AS old SET {assignments}"
        f" FROM unnest({', '.join(f'%b::{each}[]' for each in types)}) AS new ({listed})"
        f" WHERE old.id = new.id{' AND old.version = new.was' if guarded else ''}"
    )


@cache
def _types(kind: type, names: tuple[str, ...]) -> list[str]:
    """PostgreSQL's types of these columns, without their lengths."""
    of = {field.attname: str(field.db_type(connection)) for field in _MODELS[kind]._meta.concrete_fields}
    return [of[name].partition("(")[0] for name in names]


def _write(statement: str, lines: Sequence[tuple[Any, ...]]) -> int:
    """Run a statement once for each line of values; gives the number of rows that were touched."""
    with _Statement(statement) as (cursor, text):
        cursor.executemany(text, lines)
        return int(cursor.rowcount)


def changed(record: Record) -> tuple[str, ...]:
    """The columns in which a record is not what was read."""
    kind = type(record)
    return tuple(compress(_COLUMNS[kind], map(ne, record.as_read, _VALUES[kind](record))))


@lru_cache(maxsize=256)
def _reader_of(names: tuple[str, ...]) -> Callable[[Any], Line]:
    """What reads these columns (two or more) out of a record."""
    return attrgetter(*names)


def write_deadlines(deadlines: dict[tuple[str, int], datetime | None]) -> None:
    """Set deadlines by kind and subject, and delete those that are None."""
    # In one order for everybody: two batches that write the same ones do not wait for each other.
    ordered = sorted(deadlines.items())
    kept = [(kind, subject, native(at)) for (kind, subject), at in ordered if at]
    void = [name for name, at in ordered if at is None]
    if kept:
        query = "INSERT INTO tracker_deadline (kind, subject, due_at) VALUES (%s, %s, %s)"
        _write(f"{query} ON CONFLICT (subject, kind) DO UPDATE SET due_at = excluded.due_at", kept)
    if void:
        _write("DELETE FROM tracker_deadline WHERE kind = %s AND subject = %s", void)
