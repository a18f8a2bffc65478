"""Plans and tasks as pages, sockets and the API show them, with the seq that they were true at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.db.models import Case, Count, F, Min, Q, When

from tracker.models import LogRow, Plan, Task
from tracker.projections.instants import EpochMs, Moment
from tracker.projections.lookup import find_plan, log_of, one_moment
from tracker.projections.rows import moment, public_row

__all__ = ["Crew", "crews", "find_plan", "log_rows", "plan_item", "plan_items", "plan_snapshot"]

Span = tuple[str, int]  # state, milliseconds since 1970
AWAITING = Q(state="awaiting_approval")
NEWEST_ROWS = 200  # of the log in a snapshot; who looks at older ones asks for them
NEWEST_BYTES = 256 * 1024  # of their data, so that a picture of few tasks stays small


@dataclass(slots=True)
class Crew:
    """Who works on a plan (names of agents by their first task), and how many of its tasks want a person's eye."""

    agents: list[str] = field(default_factory=list)
    stalled: int = 0
    approvals: int = 0


def crews(plan_keys: Iterable[int]) -> dict[int, Crew]:
    """The crew of each plan (by primary key), with one query for all."""
    found = {key: Crew() for key in plan_keys}
    groups = Task.objects.filter(plan_id__in=found).order_by().values("plan_id", "agent")
    counted = groups.annotate(
        first=Min("position"), stalled_tasks=Count("id", filter=Q(stalled=True)), approvals=Count("id", filter=AWAITING)
    )
    for plan_key, agent, stalled, approvals in counted.order_by("first").values_list(
        "plan_id", "agent", "stalled_tasks", "approvals"
    ):
        crew = found[plan_key]
        crew.stalled += stalled
        crew.approvals += approvals
        if agent:
            crew.agents.append(agent)
    return found


def plan_item(plan: Plan, crew: Crew) -> dict[str, Any]:
    """A plan as a line of a list. `goal_event` is empty until it is known; what else is not known is null."""
    return {
        "plan_id": plan.plan_id,
        "goal_event": plan.goal_event,
        "state": plan.state,
        "held": plan.held,
        "current_state": plan.current_state or None,
        "session_id": plan.session_id or None,
        "parent_plan_id": plan.parent_plan_id or None,
        "seq": plan.seq,
        "task_count": plan.task_count,
        "completed_tasks": plan.completed_tasks,
        "failed_tasks": plan.failed_tasks,
        "cancelled_tasks": plan.cancelled_tasks,
        "open_tasks": plan.open_tasks,
        "stalled_tasks": crew.stalled,
        "approvals_pending": crew.approvals,
        "agents": crew.agents,
        "created_at": moment(plan.created_at),
        "started_at": moment(plan.started_at),
        "completed_at": moment(plan.completed_at),
        "updated_at": moment(plan.updated_at),
        "tenant_id": plan.tenant_id,
    }


def plan_items(plans: Iterable[Plan]) -> list[dict[str, Any]]:
    """Lines of a list in the given order, with one query whatever their number."""
    plans = list(plans)
    found = crews(plan.pk for plan in plans)
    return [plan_item(plan, found[plan.pk]) for plan in plans]


def plan_snapshot(plan: Plan, log_rows: int = NEWEST_ROWS) -> dict[str, Any]:
    """The plan, all its tasks with their spans, and the newest rows of its log, all true at `plan.seq`.

    {"plan": {...}, "tasks": [{..., "spans": [[state, epoch_ms], ...]}, ...], "log": [oldest ... newest]}, for orjson.
    Raises Plan.DoesNotExist if the plan is gone meanwhile.
    """
    with one_moment():
        plan = Plan.objects.get(pk=plan.pk)
        return {"plan": _plan(plan), "tasks": _tasks(plan), "log": newest_rows(plan, log_rows)}


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "plan_id": plan.plan_id,
        "goal_event": plan.goal_event,
        "goal_data": orjson.Fragment(plan.goal_data),
        "state": plan.state,
        "held": plan.held,
        "current_state": plan.current_state or None,
        "session_id": plan.session_id or None,
        "parent_plan_id": plan.parent_plan_id or None,
        "trace_id": plan.trace_id or plan.plan_id,
        "seq": plan.seq,
        "version": plan.version,
        "task_count": plan.task_count,
        "completed_tasks": plan.completed_tasks,
        "failed_tasks": plan.failed_tasks,
        "cancelled_tasks": plan.cancelled_tasks,
        "open_tasks": plan.open_tasks,
        "created_at": moment(plan.created_at),
        "started_at": moment(plan.started_at),
        "completed_at": moment(plan.completed_at),
        "updated_at": moment(plan.updated_at),
        "error": plan.error or None,
        "tenant_id": plan.tenant_id,
        "user_id": plan.user_id or None,
        "planner": plan.planner or None,
    }


TASK_COLUMNS = (
    "id", "task_id", "name", "event_type", "state", "version", "attempt", "agent", "parent__task_id", "progress",
    "message", "stalled", "stalled_reason", Moment("stalled_at"), "error", "position",
    Moment("created_at"), Moment("started_at"), Moment("ended_at"),
)  # fmt: skip
ENTERED = EpochMs(Case(When(source="", then="occurred_at"), default="recorded_at"))


def _tasks(plan: Plan) -> list[dict[str, Any]]:
    spans = _spans(plan)
    rows = Task.objects.filter(plan=plan).order_by("position").values_list(*TASK_COLUMNS)
    return [_task(row, spans.get(row[0], [])) for row in rows]


def _task(row: tuple[Any, ...], spans: list[Span]) -> dict[str, Any]:
    (_, task_id, name, event_type, state, version, attempt, agent, parent, progress,
     message, stalled, stalled_reason, stalled_at, error, position, created, started, ended) = row  # fmt: skip
    return {
        "task_id": task_id,
        "name": name,
        "event_type": event_type,
        "state": state,
        "version": version,
        "attempt": attempt,
        "agent": agent or None,
        "parent_task_id": parent,
        "progress": progress,
        "message": message or None,
        "stalled": stalled,
        "stalled_reason": stalled_reason or None,
        "stalled_at": stalled_at,
        "error": error or None,
        "position": position,
        "created_at": created,
        "started_at": started,
        "ended_at": ended,
        "spans": spans,
    }


def _spans(plan: Plan) -> dict[int, list[Span]]:
    """When each task (by primary key) entered which state, never backwards in time.

    By our clock, since senders' clocks differ; but a move that somebody reported for an earlier time of its own is at
    that time.
    """
    spans: dict[int, list[Span]] = {}
    moves = log_of(plan).filter(kind=LogRow.Kind.TRANSITION, task__isnull=False)
    for task_key, state, ms in moves.values_list("task_id", "to_state", ENTERED).iterator(5000):
        entered = spans.setdefault(task_key, [])
        # Tuples of plain values are nothing to the garbage collector, which would walk lists again and again.
        entered.append((state, max(ms, entered[-1][1]) if entered else ms))
    return spans


def newest_rows(plan: Plan, most: int) -> list[dict[str, Any]]:
    """The newest rows of the plan's log in their public shape, oldest first: fewer if they are large, at least one."""
    rows: list[dict[str, Any]] = []
    size = 0
    newest = log_of(plan).order_by("-seq").annotate(wire_task=F("task__task_id"))[:most]
    for row in newest.iterator(chunk_size=20):
        size += len(row.data) + len(row.envelope)
        if rows and size > NEWEST_BYTES:
            break
        rows.append(public_row(row, row.wire_task))
    return rows[::-1]


def log_rows(plan: Plan, after: int, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` rows of the plan's log with a seq larger than `after`, in their public shape."""
    rows = log_of(plan).filter(seq__gt=after).annotate(wire_task=F("task__task_id"))[:limit]
    return [public_row(row, row.wire_task) for row in rows]
