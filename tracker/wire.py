"""A message in its four forms.

The event that came, its log row, what linking hears in it, and the envelope that goes out again.
"""

import json
import re
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from tracker.changes import Delivery, Message
from tracker.envelope import RESULTS, TRACKER, Envelope, dumps
from tracker.linking import Heard, word
from tracker.records import RowRecord

_ENVELOPE_KEPT = (
    "specversion",
    "subject",
    "response_event",
    "response_topic",
    "response_schema_name",
    "payload_schema_name",
    "session_id",
    "goal_id",
    "plan_id",
)


# The copy of a request that is handed over after an attempt was given up on carries its number at the end of
# `data.action_id`, which workers of the SDK send back in their results.
_ATTEMPT = re.compile(r"~attempt-(\d{1,9})$")


def heard_of(message: Message) -> Heard:
    """A new message as linking sees it."""
    if message.heard is None:
        message.heard = _told_apart(_listen(message.envelope))
    return message.heard


def _told_apart(heard: Heard) -> Heard:
    """Of a result: which attempt it is of, and its data without the number."""
    if heard.is_result and "action_id" in heard.data:
        told = heard.data["action_id"]
        found = _ATTEMPT.search(told) if isinstance(told, str) else None
        heard.attempt = int(found[1]) if found else 1
        if found:
            heard.data = {**heard.data, "action_id": told[: found.start()] or None}
    return heard


def _numbered(data: dict[str, Any], attempt: int) -> dict[str, Any]:
    told = data.get("action_id")
    return data | {"action_id": f"{told if isinstance(told, str) else ''}~attempt-{attempt}"}


def _listen(e: Envelope) -> Heard:
    return Heard(
        topic=e.topic,
        type=e.type,
        event_id=e.id,
        source=e.source,
        correlation_id=e.correlation_id or "",
        data=e.data,
        occurred_at=e.time,
        plan_id=e.plan_id or "",
        response_event=e.response_event or word(e.data, "response_event"),
        session_id=e.session_id or "",
        trace_id=e.trace_id or "",
        user_id=e.user_id,
    )


def heard_again(row: RowRecord) -> Heard:
    """A kept message as linking sees it."""
    envelope, data = json.loads(row.envelope), json.loads(row.data)
    heard = Heard(
        topic=row.topic,
        type=row.type,
        event_id=row.event_id,
        source=row.source,
        correlation_id=row.correlation_id,
        data=data,
        occurred_at=row.occurred_at,
        plan_id=envelope.get("plan_id") or "",
        response_event=envelope.get("response_event") or word(data, "response_event"),
        session_id=envelope.get("session_id") or "",
        trace_id=row.trace_id,
        user_id=row.user_id,
    )
    return _told_apart(heard)


def row_of(message: Message, now: datetime) -> RowRecord:
    """The log row of a new message, not placed yet."""
    e = message.envelope
    said = e.__dict__
    kept = {name: said[name] for name in _ENVELOPE_KEPT if said[name] is not None}
    kept["platform_tenant_id"] = message.workspace
    data = heard_of(message).data
    return RowRecord(
        id=0,
        workspace_id=message.workspace_id,
        tenant_id=message.tenant_id,
        user_id=e.user_id,
        kind="message",
        type=e.type,
        event_id=e.id,
        by=message.by,
        topic=e.topic,
        source=e.source,
        correlation_id=e.correlation_id or "",
        parent_event_id=e.parent_event_id or "",
        trace_id=e.trace_id or "",
        occurred_at=e.time,
        recorded_at=now,
        data=dumps(e.data),
        envelope=dumps(kept),
        task_ref=word(data, "action_id") or word(data, "task_id"),
    )


def _data(row: RowRecord) -> str:
    """The payload as it goes out: as it came, but for the number of an attempt."""
    if row.attempt > 1 and row.topic == "action-requests":
        return dumps(_numbered(json.loads(row.data), row.attempt))
    if "~attempt-" in row.data and row.topic == "action-results":
        return dumps(heard_again(row).data)
    return row.data


def frame(row: RowRecord) -> str:
    """The envelope as JSON text: snake_case, nulls omitted, times with a zone, the payload as it came."""
    out = {
        "id": row.event_id,
        "source": row.source,
        "type": row.type,
        "topic": row.topic,
        "time": row.occurred_at.isoformat(),
        "correlation_id": row.correlation_id,
        "tenant_id": row.tenant_id,
        "user_id": row.user_id,
        **orjson.loads(row.envelope),
        "data": orjson.Fragment(_data(row)),
    }
    for name in ("trace_id", "parent_event_id"):
        if value := getattr(row, name):
            out[name] = value
    return orjson.dumps(out).decode()


def delivery(row: RowRecord, *, again: bool = False) -> Delivery:
    """A kept message as the bus carries it on; `again` as in `Delivery`."""
    own = row.source == TRACKER and row.topic == RESULTS
    avoid = row.handed_id if not row.handed_to else ""
    return Delivery(
        row.id, row.workspace_id, row.tenant_id, row.topic, row.type, partial(frame, row), again, own, avoid
    )
