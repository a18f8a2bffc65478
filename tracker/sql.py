"""The ledger's SQL: what it reads and writes, set-based, on SQLite and PostgreSQL alike."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import compress
from operator import attrgetter, ne
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Model

from tracker.models import Link, LogRow, Plan, Task
from tracker.records import Line, LinkRecord, Native, PlanRecord, R, Record, RowRecord, TaskRecord

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
        keys = rows(f"SELECT nextval('{_sequence(table)}') FROM generate_series(1, %s)", [count])
        return sorted(row[0] for row in keys)
    # AUTOINCREMENT's own memory, so that a key is never used twice even after the newest row was deleted.
    last = rows("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
    first = last[0][0] + 1 if last else 1
    return list(range(first, first + count))


@cache
def _sequence(table: str) -> str:
    """The sequence that a table's keys come from."""
    return str(rows("SELECT pg_get_serial_sequence(%s, 'id')", [table])[0][0])


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


@dataclass(slots=True)
class Update:
    """Columns of records of one kind that are to be written; with `versions`, only of rows still at that version."""

    records: Sequence[Record]
    names: tuple[str, ...]
    versions: Sequence[int] | None = None

    def lines(self) -> list[Line]:
        """The values of each record, its key, and the version that it should have."""
        found = list(map(_reader_of((*self.names, "id")), self.records))
        if self.versions is None:
            return found
        return [(*line, version) for line, version in zip(found, self.versions, strict=True)]

    def at_once(self) -> tuple[str, list[list[Any]]]:
        """One statement of PostgreSQL for all records, and its values by column."""
        kind: type = type(self.records[0])
        statement = _update_at_once(kind, self.names, self.versions is not None)
        return statement, list(map(list, zip(*self.lines(), strict=True)))


def update(change: Update) -> int:
    """Write changed records; gives the number of rows written."""
    if not change.records:
        return 0
    if on_postgresql():
        statement, values = change.at_once()
        with _Statement(statement) as (cursor, text):
            return int(cursor.execute(text, values).rowcount)
    assignments = ", ".join(f'"{name}" = %s' for name in change.names)
    guard = " AND version = %s" if change.versions is not None else ""
    table = _TABLES[type(change.records[0])]
    return _write(f"UPDATE {table} SET {assignments} WHERE id = %s{guard}", change.lines())


def update_and_number(changes: Sequence[Update], workspaces: Iterable[int], count: int) -> tuple[list[int], list[int]]:
    """Write changed records, and take keys for `count` new rows of the log; gives the rows written by each, the keys.

    From here to the commit nobody else writes to the log of these workspaces: its keys rise in the order of the
    commits, and a cursor over them never passes a row that appears later. On PostgreSQL all of it is one statement,
    since each one costs a way there and back.
    """
    if not on_postgresql():
        return [update(change) for change in changes], take_ids(RowRecord, count) if count else []
    statements, values = [], []
    for number, change in enumerate(changes):
        statement, columns = change.at_once()
        statements.append(f"u{number} AS ({statement} RETURNING 1), ")
        values += columns
    written = "".join(f"(SELECT count(*) FROM u{number}), " for number in range(len(changes)))
    # Nobody's workspace, 0, is shared: who wants to know how far the log is for certain takes it alone. The keys are
    # taken once there is a row of `held`, so once the log is.
    query = f"""
        WITH {"".join(statements)} held AS MATERIALIZED (
            SELECT count(*) AS locks FROM (
                SELECT pg_advisory_xact_lock_shared(7702, 0), pg_advisory_xact_lock(7702, k) FROM unnest(%b::int[]) k
            ) AS each)
        SELECT {written} ARRAY(
            SELECT nextval('{_sequence("tracker_logrow")}') FROM generate_series(1, %b::int + 0 * locks::int))
        FROM held"""
    [(*numbers, keys)] = rows(query, [*values, sorted(workspaces), count])
    return numbers, sorted(keys)


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
