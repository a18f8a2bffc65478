"""A message in its four forms.

The event that came, its log row, what linking hears in it, and the envelope that goes out again.
"""

import json
from datetime import datetime

import orjson

from tracker.changes import Message
from tracker.envelope import Envelope, dumps
from tracker.linking import Heard, word
from tracker.sql import RowRecord

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


def heard_of(message: Message) -> Heard:
    """A new message as linking sees it."""
    if message.heard is None:
        message.heard = _listen(message.envelope)
    return message.heard


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
    return Heard(
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


def row_of(message: Message, now: datetime) -> RowRecord:
    """The log row of a new message, not placed yet."""
    e = message.envelope
    kept = {name: value for name in _ENVELOPE_KEPT if (value := getattr(e, name)) is not None}
    kept["platform_tenant_id"] = message.workspace
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
        task_ref=word(e.data, "action_id") or word(e.data, "task_id"),
    )


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
        "data": orjson.Fragment(row.data),
    }
    for name in ("trace_id", "parent_event_id"):
        if value := getattr(row, name):
            out[name] = value
    return orjson.dumps(out).decode()
