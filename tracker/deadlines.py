"""What falls due at a moment although nobody reports anything: an approval's end, a silent task, a step's next try.

A deadline is a row (kind, subject, due_at), written and deleted in the transaction of the change that makes it. The
process that deletes a due row acts on it, in the same transaction: with any number of processes, exactly once.
`tracker.timer` sleeps until the nearest one. Who sets a kind of deadline registers what it means.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from tracker import sql
from tracker.changes import Due, Outcome
from tracker.models import Deadline
from tracker.world import World

Meaning = Callable[[World, int], None]  # of a subject's deadline; it may have become void meanwhile
MOST_DUE = 500  # that are acted upon in one transaction
_TABLE = Deadline._meta.db_table
_meanings: dict[str, Meaning] = {}


def register(kind: str, meaning: Meaning) -> None:
    """Say what happens when deadlines of this kind fall due."""
    _meanings[kind] = meaning


def due(world: World, change: Due) -> Outcome:
    """A deadline has come: act on it, unless another process did, or it was moved or taken back meanwhile."""
    gone = f"DELETE FROM {_TABLE} WHERE kind = %s AND subject = %s AND due_at <= %s"
    if not sql.execute(gone, [change.kind, change.subject, sql.native(world.now)]):
        return Outcome("duplicate")
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


def put_off(some: Iterable[Due], until: datetime) -> None:
    """Try these again later: acting on them failed."""
    for one in some:
        sql.execute(
            f"UPDATE {_TABLE} SET due_at = %s WHERE kind = %s AND subject = %s",
            [sql.native(until), one.kind, one.subject],
        )
