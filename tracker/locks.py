"""Locks of PostgreSQL that end with the transaction; SQLite has one writer, who needs none."""

from collections.abc import Iterable
from zlib import crc32

from tracker.sql import execute, marks, on_postgresql, rows


def keys(names: Iterable[str]) -> None:
    """Hold these names until the end of the transaction.

    So that no message slips past a plan that is just being created.

    Advisory locks in PostgreSQL, in one order for everybody; SQLite has one writer. 1,024 buckets bound the lock table.
    """
    if not on_postgresql():
        return
    buckets = sorted({hash_bucket(name) for name in names})
    if buckets:
        execute(f"SELECT pg_advisory_xact_lock(7701, k) FROM unnest(ARRAY[{marks(buckets)}]::int[]) k", buckets)


def groups(ids: Iterable[int]) -> dict[int, int]:
    """Lock queue groups, in one order for everybody; gives how far each has been served with requests."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    lock = " FOR UPDATE" if on_postgresql() else ""
    query = f"SELECT id, requests_cursor FROM tracker_queuegroup WHERE id IN ({marks(wanted)}) ORDER BY id{lock}"
    return dict(rows(query, wanted))


def hash_bucket(key: str, buckets: int = 1024) -> int:
    """A stable bucket for a key, the same in every process (Python's own hash is not)."""
    return crc32(key.encode("utf-8", "surrogatepass")) % buckets
