"""The tasks of a plan by name, as JSON that is made once for each seq of the plan and kept while there is room.

Whatever changes a task adds a row to the plan's log, so what was made at a seq is true as long as the plan is there.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from tracker.models import Plan, Task

ROOM = 64_000_000  # bytes kept in this process
COLUMNS = ("name", "task_id", "state", "agent", "progress", "stalled", "attempt")


@dataclass(frozen=True, slots=True)
class Briefs:
    """All tasks of a plan at a moment. `json`: an object by name, in order of arrival."""

    moment: tuple[int, datetime]  # the plan's seq, and when it came
    json: bytes
    approvals: int
    stalled: int


_kept: OrderedDict[int, Briefs] = OrderedDict()  # by primary key of the plan, the least used first
_size = 0
_lock = threading.Lock()


def briefs(plan: Plan) -> Briefs:
    """The tasks of the plan as it was read; one query, or none when nothing has changed since the last call."""
    with _lock:
        found = _kept.get(plan.pk)
        if found and found.moment == (plan.seq, plan.updated_at):
            _kept.move_to_end(plan.pk)
            return found
    made = _make(plan)
    _keep(plan.pk, made)
    return made


def _make(plan: Plan) -> Briefs:
    rows = list(Task.objects.filter(plan=plan).order_by("position").values_list(*COLUMNS))
    json = orjson.dumps({row[0]: _brief(row) for row in rows})
    return Briefs(
        (plan.seq, plan.updated_at),
        json,
        sum(row[2] == "awaiting_approval" for row in rows),
        sum(row[5] for row in rows),
    )


def _brief(row: tuple[Any, ...]) -> dict[str, Any]:
    _, task_id, state, agent, progress, stalled, attempt = row
    return {
        "task_id": task_id,
        "state": state,
        "status": state,
        "agent": agent or None,
        "progress": progress,
        "stalled": stalled,
        "attempt": attempt,
    }


def _keep(key: int, made: Briefs) -> None:
    global _size
    with _lock:
        old = _kept.pop(key, None)
        _size += len(made.json) - (len(old.json) if old else 0)
        _kept[key] = made
        while _size > ROOM:
            _, gone = _kept.popitem(last=False)
            _size -= len(gone.json)
