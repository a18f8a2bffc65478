"""A log row as readers see it: one shape for the API, the socket and the export."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

import orjson


class Row(Protocol):
    """What a row must have: the columns of `LogRow`, whether read from the database or just written."""

    seq: int | None
    kind: str
    type: str
    event_id: str
    from_state: str | None
    to_state: str | None
    version: int | None
    by: str
    reason: str
    inferred: bool
    refused: bool
    topic: str
    source: str
    correlation_id: str
    parent_event_id: str
    occurred_at: datetime
    recorded_at: datetime
    data: str
    envelope: str


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC with microseconds."""
    return _text(at) if at else None


@lru_cache(maxsize=4096)
def _text(at: datetime) -> str:
    # The rows of a batch share their times.
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def public_row(row: Row, task_id: str | None) -> dict[str, Any]:
    """The row's public shape; `task_id` is the wire id of its task. Free-form JSON goes out as it came."""
    return {
        "seq": row.seq,
        "kind": row.kind,
        "type": row.type,
        "event_id": row.event_id or None,
        "task_id": task_id,
        "from_state": row.from_state,
        "to_state": row.to_state,
        "version": row.version,
        "by": row.by,
        "reason": row.reason or None,
        "inferred": bool(row.inferred),
        "refused": bool(row.refused),
        "topic": row.topic or None,
        "source": row.source or None,
        "correlation_id": row.correlation_id or None,
        "parent_event_id": row.parent_event_id or None,
        "occurred_at": moment(row.occurred_at),
        "recorded_at": moment(row.recorded_at),
        "data": orjson.Fragment(row.data),
        "envelope": orjson.Fragment(row.envelope),
    }
