"""A plan's past from its log alone: folding the rows gives the plan and its tasks as they were after any of them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tracker.models import LogRow, Plan
from tracker.projections.lookup import log_of
from tracker.projections.rows import moment

COUNTERS = {"completed": "completed_tasks", "failed": "failed_tasks", "cancelled": "cancelled_tasks"}


class Step(NamedTuple):
    """What replay needs of a log row: `task_id` is the wire id of its task, `data` the changed fields as JSON text."""

    seq: int
    kind: str
    task_id: str | None
    to_state: str | None
    version: int | None
    refused: bool
    recorded_at: datetime
    data: str


def new_plan() -> dict[str, Any]:
    """A plan before its first row, by the names of its columns."""
    return {
        "state": None, "version": 0, "seq": 0, "user_id": "", "goal_event": "", "goal_data": "{}", "response_event": "",
        "correlation_id": "", "session_id": "", "parent_plan_id": "", "trace_id": "", "planner": "",
        "current_state": "", "error": "", "task_count": 0, "completed_tasks": 0, "failed_tasks": 0,
        "cancelled_tasks": 0, "created_at": None, "started_at": None, "completed_at": None,
    }  # fmt: skip


def new_task() -> dict[str, Any]:
    """A task before its first row, by the names of its columns; `parent_task_id` is a wire id."""
    return {
        "state": None, "version": 0, "attempt": 1, "given_up": 0, "name": "", "event_type": "", "agent": "",
        "agent_id": "",
        "parent_task_id": None, "progress": None, "message": "", "stalled": False, "stalled_reason": "",
        "stalled_at": None, "timeout": None, "error": "", "position": None,
        "created_at": None, "started_at": None, "ended_at": None,
    }  # fmt: skip


@dataclass(slots=True)
class State:
    """A plan and its tasks (by wire id, in order of arrival) at one seq."""

    plan: dict[str, Any] = field(default_factory=new_plan)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def apply(self, step: Step) -> None:
        """Fold one more row; messages, and what was refused, change nothing but the seq."""
        self.plan["seq"] = step.seq
        if step.kind == LogRow.Kind.MESSAGE or step.refused:
            return
        subject = self.plan if step.task_id is None else self._task(step.task_id)
        before = subject["state"]
        if before is None:
            subject["created_at"] = moment(step.recorded_at)
        # Not orjson: integers beyond 64 bits stay what they are.
        subject.update(json.loads(step.data))
        if step.version is not None:
            subject["version"] = step.version
        if step.to_state is not None:
            subject["state"] = step.to_state
        if step.task_id is not None:
            self._count(before, subject["state"])

    def _task(self, task_id: str) -> dict[str, Any]:
        if task_id not in self.tasks:
            self.tasks[task_id] = new_task()
            self.plan["task_count"] += 1
        return self.tasks[task_id]

    def _count(self, before: str | None, after: str | None) -> None:
        if before != after:
            for state, change in ((before, -1), (after, 1)):
                if state in COUNTERS:
                    self.plan[COUNTERS[state]] += change


def replay(steps: Iterable[Step]) -> State:
    """Fold the rows, given in order of seq, into the state that they lead to."""
    state = State()
    for step in steps:
        state.apply(step)
    return state


def steps_of(plan: Plan, until: int | None = None) -> Iterator[Step]:
    """The rows of a plan's log as steps, up to and with the seq `until`."""
    rows = log_of(plan) if until is None else log_of(plan).filter(seq__lte=until)
    columns = ("seq", "kind", "task__task_id", "to_state", "version", "refused", "recorded_at", "data")
    return (Step(*row) for row in rows.values_list(*columns).iterator(chunk_size=2000))


def seq_at(plan: Plan, at: datetime) -> int:
    """The seq of the last row that was recorded by then; 0 when the plan had none yet."""
    later = log_of(plan).filter(recorded_at__gt=at).values_list("seq", flat=True).first()
    return plan.seq if later is None else later - 1
