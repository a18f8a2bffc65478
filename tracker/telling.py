"""A commit as one process tells another of it: JSON, in which free-form JSON stays the text that it was.

Read and written again, integers beyond 64 bits would not be what they were.
"""

from datetime import datetime
from typing import Any

import orjson

from tracker.changes import Batch, Delivery, Recorded

_AS_TEXT = ("data", "envelope")
Told = tuple[list[Recorded], list[Delivery], datetime | None]


def encode(batch: Batch) -> bytes:
    """The rows, the messages and the nearest deadline of a batch, for `decode`."""
    rows = [(r.row_id, r.workspace_id, r.tenant_id, r.plan_key, r.plan_id, _closed(r.row)) for r in batch.rows]
    messages = [
        (d.row_id, d.workspace_id, d.tenant_id, d.topic, d.type, d.frame, d.again, d.own, d.avoid)
        for d in batch.messages
    ]
    return orjson.dumps((rows, messages, batch.due_at))


def decode(rows: list[Any], messages: list[Any], due_at: str | None) -> Told:
    """What was told of a commit, by the three parts of the JSON array that `encode` makes."""
    recorded = [
        Recorded(row_id, workspace_id, tenant_id, plan_key, plan_id, _opened(row))
        for row_id, workspace_id, tenant_id, plan_key, plan_id, row in rows
    ]
    return recorded, [Delivery(*one) for one in messages], datetime.fromisoformat(due_at) if due_at else None


def _closed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: orjson.dumps(row[name]).decode() for name in _AS_TEXT}


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: orjson.Fragment(row[name]) for name in _AS_TEXT}
