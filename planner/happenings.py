"""What people want to be told of: found in the rows that a batch has made, at its end.

Looking costs nothing until one of these happens.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.conf import settings

from planner.models import Approval
from tracker.projections.rows import moment
from tracker.records import PlanRecord, RowRecord, TaskRecord
from tracker.world import World

TEST = "webhook.test"
REQUESTED, DECIDED, EXPIRED = "approval.requested", "approval.decided", "approval.expired"
EVENTS = {
    REQUESTED: "an agent asks a person, or a question goes on to the next person",
    DECIDED: "a person has decided",
    EXPIRED: "nobody decided in time",
    "plan.failed": "a plan has failed",
    "task.stalled": "a task's agent is gone, or silent for too long",
}


@dataclass(slots=True)
class Happening:
    """One event for the outside. `data`: what the receiver is told, JSON; `asks`: names of who is asked, if any."""

    event: str
    workspace_id: int
    tenant_id: str
    plan_id: str
    data: dict[str, Any]
    asks: list[str] = field(default_factory=list)


def address(path: str) -> str | None:
    """A page of this server as people outside reach it; None when the settings do not say."""
    return f"{settings.BASE_URL}{path}" if settings.BASE_URL else None


def happenings(world: World) -> Iterator[Happening]:
    """What of this batch people want to be told of, each once."""
    failed: set[int] = set()
    stalled: set[int] = set()
    asked: list[tuple[RowRecord, dict[str, Any]]] = []
    for row in world.rows:
        if row.kind == "message" or row.plan_id is None:
            continue
        if row.task_id is None:
            if row.to_state == "failed":
                failed.add(row.plan_id)
        elif '"approval_id":' in row.data:
            asked.append((row, json.loads(row.data)))
        elif row.kind == "note" and '"stalled":true' in row.data and json.loads(row.data).get("stalled") is True:
            stalled.add(row.task_id)
    if asked:
        yield from _approvals(world, asked)
    plans = (world.plans[key] for key in sorted(failed))
    yield from (_plan_failed(plan) for plan in plans if plan.state == "failed")
    tasks = (world.task_by_key(key) for key in sorted(stalled))
    yield from (_task_stalled(world.plans[task.plan_id], task) for task in tasks if task and task.stalled)


def _about(event: str, plan: PlanRecord, path: str, **data: Any) -> Happening:
    base = {"plan_id": plan.plan_id, "tenant_id": plan.tenant_id, "goal_event": plan.goal_event or None}
    data = base | data | {"seq": plan.seq, "url": address(path)}
    return Happening(event, plan.workspace_id, plan.tenant_id, plan.plan_id, data)


def _page(plan: PlanRecord) -> str:
    return f"/plans/{quote(plan.plan_id, safe='')}"


def _plan_failed(plan: PlanRecord) -> Happening:
    counted = ("task_count", "completed_tasks", "failed_tasks", "cancelled_tasks")
    counts = {name: getattr(plan, name) for name in counted}
    more = {"error": plan.error or None, "session_id": plan.session_id or None, **counts}
    return _about("plan.failed", plan, _page(plan), **more)


def _task_stalled(plan: PlanRecord, task: TaskRecord) -> Happening:
    who = {"task_id": task.task_id, "task_name": task.name, "event_type": task.event_type, "attempt": task.attempt}
    who |= {"agent": task.agent or None, "agent_id": task.agent_id or None, "reason": task.stalled_reason or None}
    return _about("task.stalled", plan, f"{_page(plan)}?task={quote(task.task_id, safe='')}", **who)


def _approvals(world: World, asked: list[tuple[RowRecord, dict[str, Any]]]) -> Iterator[Happening]:
    known = {
        one.approval_id: one for one in Approval.objects.filter(approval_id__in={a["approval_id"] for _, a in asked})
    }
    for row, told in asked:
        approval, plan = known.get(told["approval_id"]), world.plans[row.plan_id or 0]
        if approval is None:
            continue
        if row.to_state == "awaiting_approval":
            yield _asks(plan, approval, json.loads(approval.assignees))
        elif row.type == "approval.escalated":
            yield _asks(plan, approval, told["assignees"][-1:], escalated=True)
        elif row.kind == "transition" and told.get("decision"):
            yield _ends(plan, approval)


def _asks(plan: PlanRecord, approval: Approval, names: list[str], *, escalated: bool = False) -> Happening:
    found = _of_approval(REQUESTED, plan, approval, escalated=escalated)
    found.asks = names
    return found


def _ends(plan: PlanRecord, approval: Approval) -> Happening:
    event = EXPIRED if approval.state == Approval.State.EXPIRED else DECIDED
    said = {"decision": approval.decision, "decided_by": approval.decided_by, "comment": approval.comment or None}
    return _of_approval(event, plan, approval, **said, decided_at=moment(approval.decided_at))


def _of_approval(event: str, plan: PlanRecord, approval: Approval, **more: Any) -> Happening:
    data = {
        "approval_id": approval.approval_id,
        "title": approval.title,
        "action": approval.action or None,
        "risk": approval.risk,
        "assignees": json.loads(approval.assignees),
        "requested_by": approval.requested_by,
        "requested_at": moment(approval.requested_at),
        "expires_at": moment(approval.expires_at),
        "on_expiry": approval.on_expiry,
    }
    return _about(event, plan, f"/approvals/{approval.approval_id}", **data, **more)
