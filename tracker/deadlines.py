"""What falls due at a moment although nobody reports anything: an approval's end, a silent task, a step's next try.

A deadline is a row (kind, subject, due_at), written and deleted in the transaction of the change that makes it. The
process that deletes a due row acts on it, in the same transaction: with any number of processes, exactly once.
`tracker.timer` sleeps until the nearest one. Who sets a kind of deadline registers what it means.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from tracker import sql
from tracker.changes import Due, Outcome
from tracker.models import Deadline
from tracker.world import World

Meaning = Callable[[World, int], None]  # of a subject's deadline; it may have become void meanwhile
Load = Callable[[World, list[int]], None]
MOST_DUE = 500  # that are acted upon in one transaction
_TABLE = Deadline._meta.db_table
_meanings: dict[str, Meaning] = {}
_loads: dict[str, Load] = {}


def register(kind: str, meaning: Meaning, load: Load | None = None) -> None:
    """Say what happens when deadlines of this kind fall due.

    `load` reads the subjects of many together beforehand; what it locks is locked in the order of every other change.
    """
    _meanings[kind] = meaning
    if load:
        _loads[kind] = load


def take(world: World, some: Iterable[Due]) -> None:
    """Take what is due out of the table, all together: from now on it is this batch's to act upon.

    Others may have acted on some, or moved them or taken them back meanwhile; these are left.
    """
    kinds: dict[str, list[int]] = {}
    for one in some:
        kinds.setdefault(one.kind, []).append(one.subject)
    for kind in sorted(kinds.keys() & _loads.keys()):
        _loads[kind](world, sorted(kinds[kind]))
    lock = " FOR UPDATE" if sql.on_postgresql() else ""
    for kind, subjects in sorted(kinds.items()):
        mine = f"kind = %s AND due_at <= %s AND subject IN ({sql.marks(subjects)})"
        values = [kind, sql.native(world.now), *subjects]
        found = sql.rows(f"SELECT id, subject FROM {_TABLE} WHERE {mine} ORDER BY id{lock}", values)
        if found:
            sql.execute(f"DELETE FROM {_TABLE} WHERE id IN ({sql.marks(found)})", [key for key, _ in found])
        world.due |= {(kind, subject) for _, subject in found}


def due(world: World, change: Due) -> Outcome:
    """A deadline has come: act on it, if it is this batch's to do so."""
    if (change.kind, change.subject) not in world.due:
        return Outcome("duplicate")
    world.due.discard((change.kind, change.subject))
    _meanings[change.kind](world, change.subject)
    return Outcome("recorded")


def nearest() -> datetime | None:
    """When the next deadline falls due."""
    found = sql.rows(f"SELECT MIN(due_at) FROM {_TABLE}")
    return sql.as_datetime(found[0][0]) if found[0][0] else None


def overdue(now: datetime) -> list[Due]:
    """Deadlines that have come, the oldest first; at most `MOST_DUE`."""
    query = f"SELECT kind, subject FROM {_TABLE} WHERE due_at <= %s ORDER BY due_at LIMIT {MOST_DUE}"
    return [
        Due(workspace_id=0, tenant_id="", by="system", kind=k, subject=s) for k, s in sql.rows(query, [sql.native(now)])
    ]


def pending(kind: str, *, subject: int | None = None, after: datetime | None = None) -> bool:
    """Whether there is a deadline of this kind: of this subject, or one that is due later than `after`."""
    where = "kind = %s"
    values: list[Any] = [kind]
    if subject is not None:
        where, values = f"{where} AND subject = %s", [*values, subject]
    if after is not None:
        where, values = f"{where} AND due_at > %s", [*values, sql.native(after)]
    return bool(sql.rows(f"SELECT 1 FROM {_TABLE} WHERE {where} LIMIT 1", values))


def put_off_until(until: datetime, kinds: Collection[str]) -> None:
    """Let nothing of these kinds fall due before then."""
    names = sorted(kinds)
    moved = f"UPDATE {_TABLE} SET due_at = %s WHERE due_at < %s AND kind IN ({sql.marks(names)})"
    sql.execute(moved, [sql.native(until), sql.native(until), *names])


def put_off(some: Iterable[Due], until: datetime) -> None:
    """Try these again later: acting on them failed."""
    for one in some:
        sql.execute(
            f"UPDATE {_TABLE} SET due_at = %s WHERE kind = %s AND subject = %s",
            [sql.native(until), one.kind, one.subject],
        )
