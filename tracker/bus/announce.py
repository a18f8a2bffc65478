"""The tracker's own word on the bus: every move of a task or plan, so that agents react to a stage while it happens.

Made from what was committed, never recorded as messages, never taken in again.
"""

from functools import partial

import orjson

from tracker.changes import Delivery, Recorded
from tracker.envelope import TRACKER

TASK_EVENTS, PLAN_EVENTS, SYSTEM_EVENTS = "task-events", "plan-events", "system-events"
STALLS = frozenset({"task.stalled", "task.alive"})  # what the log tells of a task that stalls
TOPICS = frozenset({TASK_EVENTS, PLAN_EVENTS, SYSTEM_EVENTS})


def announcements(recorded: Recorded) -> list[Delivery]:
    """The messages that tell of a transition or a stall, none for other rows.

    A cancellation is told on `system-events` as well. A creation is no move: its request is on the bus already.
    """
    row = recorded.row
    if row["type"] in STALLS:
        return [_message(recorded, row["type"], TASK_EVENTS)]
    if row["kind"] != "transition" or row["from_state"] is None:
        return []
    subject, topic = ("task", TASK_EVENTS) if row["task_id"] else ("plan", PLAN_EVENTS)
    told = [_message(recorded, f"{subject}.state_changed", topic)]
    # Who says that it was cancelled need not be told.
    if row["to_state"] == "cancelled" and row["source"] is None:
        told.append(_message(recorded, f"{subject}.cancelled", SYSTEM_EVENTS))
    return told


def _message(recorded: Recorded, type: str, topic: str) -> Delivery:
    frame = partial(_frame, recorded, type, topic)
    return Delivery(-recorded.row_id, recorded.workspace_id, recorded.tenant_id, topic, type, frame)


def _frame(recorded: Recorded, type: str, topic: str) -> str:
    row = recorded.row
    data = {
        "task_id": row["task_id"],
        "plan_id": recorded.plan_id,
        "previous_state": row["from_state"],
        "new_state": row["to_state"],
        "version": row["version"],
        "seq": row["seq"],
        "by": row["by"],
        "reason": row["reason"],
    }
    envelope = {
        "id": f"{TRACKER}:{recorded.plan_id}:{row['seq']}:{topic}",
        "source": TRACKER,
        "specversion": "1.0",
        "type": type,
        "topic": topic,
        "time": row["recorded_at"],
        "correlation_id": row["correlation_id"] or recorded.plan_id,
        "parent_event_id": row["event_id"],
        "tenant_id": recorded.tenant_id,
        "plan_id": recorded.plan_id,
        "data": data,
    }
    return orjson.dumps({name: value for name, value in envelope.items() if value is not None}).decode()
