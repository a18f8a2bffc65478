"""The tracker's own word on the bus: every move of a task or plan, so that agents can react to a stage while it happens.

Made from what was committed, never recorded as messages, never taken in again.
"""

import orjson

from tracker.changes import Delivery, Recorded
from tracker.envelope import TRACKER

TASK_EVENTS, PLAN_EVENTS = "task-events", "plan-events"
TOPICS = frozenset({TASK_EVENTS, PLAN_EVENTS})


def announcement(recorded: Recorded) -> Delivery | None:
    """The message that tells of a transition; None for other rows. A creation is no move: its request is on the bus already."""
    row = recorded.row
    if row["kind"] != "transition" or row["from_state"] is None:
        return None
    topic, type = (TASK_EVENTS, "task.state_changed") if row["task_id"] else (PLAN_EVENTS, "plan.state_changed")
    data = {
        "task_id": row["task_id"], "plan_id": recorded.plan_id, "previous_state": row["from_state"], "new_state": row["to_state"],
        "version": row["version"], "seq": row["seq"], "by": row["by"], "reason": row["reason"],
    }  # fmt: skip
    envelope = {
        "id": f"{TRACKER}:{recorded.plan_id}:{row['seq']}", "source": TRACKER, "specversion": "1.0", "type": type, "topic": topic,
        "time": row["recorded_at"], "correlation_id": row["correlation_id"] or recorded.plan_id, "parent_event_id": row["event_id"],
        "tenant_id": recorded.tenant_id, "plan_id": recorded.plan_id, "data": data,
    }  # fmt: skip
    frame = orjson.dumps({name: value for name, value in envelope.items() if value is not None}).decode()
    return Delivery(0, recorded.workspace_id, recorded.tenant_id, topic, type, frame)
