"""The queries that only the SDK's tracker client knows. Its `/plans/{id}` is in `tracker.api.plans`, with more in it.

An id may hold slashes, so these routes must come before the ones that end with an id.
"""

from typing import Any

from django.db.models import F
from django.http import HttpResponse
from ninja import Router

from accounts.auth import needs
from tracker.api.reading import sight
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, answer
from tracker.errors import NotFound
from tracker.models import Link, LogRow, Plan, Task
from tracker.projections.lookup import Sight, log_of
from tracker.projections.rows import moment
from tracker.schemas import Action, DelegationGroup, PlanExecution, Tenant, Timeline
from tracker.states import wire_state

router = Router(tags=["sdk"])


@router.get("/tracker/plans/{id:plan_id}/actions", response={200: list[Action], **MISSING})
@needs("read")
def plan_actions(request: CallerRequest, plan_id: str, tenant: Tenant = None) -> HttpResponse:
    """The plan's tasks in order of arrival, in the SDK's seven states."""
    plan = sight(request, tenant).plan(plan_id)
    columns = ("task_id", "event_type", "state", "created_at", "started_at", "ended_at", "progress")
    rows = Task.objects.filter(plan=plan).order_by("position").values_list(*columns)
    return answer([_action(row) for row in rows])


def _action(row: tuple[Any, ...]) -> dict[str, Any]:
    task_id, event_type, state, created, started, ended, progress = row
    started = started or created
    return {
        "task_id": task_id,
        "event_type": event_type,
        "state": wire_state(state),
        "started_at": moment(started),
        "completed_at": moment(ended),
        "duration_seconds": max(0.0, (ended - started).total_seconds()) if ended else None,
        "progress": progress,
    }


@router.get("/tracker/plans/{id:plan_id}/timeline", response={200: Timeline, **MISSING})
@needs("read")
def plan_timeline(request: CallerRequest, plan_id: str, tenant: Tenant = None) -> HttpResponse:
    """All messages of the plan in order of arrival."""
    plan = sight(request, tenant).plan(plan_id)
    events = log_of(plan).filter(kind=LogRow.Kind.MESSAGE).annotate(wire_task=F("task__task_id"))
    columns = ("event_id", "type", "occurred_at", "parent_event_id", "seq", "topic", "source", "wire_task")
    return answer(
        {"trace_id": plan.trace_id or plan.plan_id, "events": [_event(row) for row in events.values_list(*columns)]}
    )


def _event(row: tuple[Any, ...]) -> dict[str, Any]:
    event_id, event_type, at, parent, seq, topic, source, task_id = row
    return {
        "event_id": event_id,
        "event_type": event_type,
        "timestamp": moment(at),
        "parent_event_id": parent or None,
        "seq": seq,
        "topic": topic,
        "source": source,
        "task_id": task_id,
    }


@router.get("/tracker/plans/{id:plan_id}/sub-plans", response={200: list[PlanExecution], **REFUSALS})
@needs("read")
def sub_plans(request: CallerRequest, plan_id: str, tenant: Tenant = None) -> HttpResponse:
    """The plans that have this one as parent, oldest first; an empty list also for an unknown plan."""
    return answer(_executions(sight(request, tenant), parent_plan_id=plan_id))


@router.get("/tracker/sessions/{id:session_id}/plans", response={200: list[PlanExecution], **REFUSALS})
@needs("read")
def session_plans(request: CallerRequest, session_id: str, tenant: Tenant = None) -> HttpResponse:
    """The plans of a session, oldest first; an empty list also for an unknown session."""
    return answer(_executions(sight(request, tenant), session_id=session_id))


def _executions(seen: Sight, **by: str) -> list[dict[str, Any]]:
    if any("\x00" in value for value in by.values()):
        return []
    # The indexes leave out the empty ones, and SQLite uses them only if the query says so too.
    plans = seen.plans().filter(**by).exclude(**dict.fromkeys(by, ""))
    return [_execution(plan) for plan in plans.order_by("id")]


def _execution(plan: Plan) -> dict[str, Any]:
    return {
        "plan_id": plan.plan_id,
        "parent_plan_id": plan.parent_plan_id or None,
        "session_id": plan.session_id or None,
        "goal_event": plan.goal_event,
        "status": plan.state,
        "current_state": plan.current_state or None,
        "trace_id": plan.trace_id or plan.plan_id,
        "started_at": moment(plan.started_at or plan.created_at),
        "completed_at": moment(plan.completed_at),
    }


@router.get("/tracker/delegation-groups/{id:group_id}", response={200: DelegationGroup, **MISSING})
@needs("read")
def delegation_group(request: CallerRequest, group_id: str, tenant: Tenant = None) -> HttpResponse:
    """How far a group of sub-tasks is that were delegated together."""
    return answer(_group(sight(request, tenant), group_id))


def _group(seen: Sight, group_id: str) -> dict[str, Any]:
    links = seen.links().filter(kind=Link.Kind.SUBTASK, group_id=group_id).exclude(group_id="")
    members = [] if "\x00" in group_id else list(links.select_related("task__plan", "plan").order_by("id"))
    if not members:
        raise NotFound("there is no delegation group with this id")
    newest = members[-1]
    members = [link for link in members if link.tenant_id == newest.tenant_id]
    parent = newest.task
    plan = parent.plan if parent else newest.plan
    return {
        "group_id": group_id,
        "parent_task_id": parent.task_id if parent else newest.context_key,
        "plan_id": plan.plan_id if plan else None,
        "total_tasks": len(members),
        "completed_tasks": _completed(members),
        "created_at": moment(min(link.created_at for link in members)),
    }


def _completed(members: list[Link]) -> int:
    """How many of the sub-tasks are completed; one whose request never came is judged by what its context says."""
    of = Sight(members[0].workspace_id, members[0].tenant_id)
    states = dict(of.tasks().filter(task_id__in=[link.key for link in members]).values_list("task_id", "state"))
    return sum(states[link.key] == "completed" if link.key in states else link.done for link in members)
