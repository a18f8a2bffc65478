"""Queries about plans. An id may hold slashes, so the route that ends with one comes last."""

from typing import Any

import orjson
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpResponse
from ninja import Query, Router

from accounts.auth import needs
from tracker.api.paging import page, page_body
from tracker.api.reading import sight
from tracker.api.tasks import task_item
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, answer
from tracker.errors import Invalid, NotFound
from tracker.models import Plan, Task
from tracker.projections.briefs import Briefs, briefs
from tracker.projections.hierarchy import hierarchy
from tracker.projections.lookup import one_moment, with_relatives
from tracker.projections.replay import replay, seq_at, steps_of
from tracker.projections.rows import moment
from tracker.projections.snapshots import AWAITING, log_rows, plan_items
from tracker.schemas import (
    Hierarchy,
    LogAfter,
    LogPage,
    Page,
    PastMoment,
    PastState,
    PlanDetail,
    PlanFilter,
    PlanPage,
    TaskPage,
    Tenant,
)

router = Router(tags=["plans"])


@router.get("/tracker/plans", response={200: PlanPage, **REFUSALS})
@needs("read")
def list_plans(request: CallerRequest, which: Query[PlanFilter]) -> HttpResponse:
    """Plans, newest first."""
    plans, cursor = page("plans", chosen(sight(request, which.tenant).plans(), which), which.cursor, which.limit)
    return answer(page_body(plan_items(plans), cursor))


def chosen(plans: QuerySet[Plan], which: PlanFilter) -> QuerySet[Plan]:
    """Those of the plans that the filter lets pass."""
    exact = {"state__in": which.state, "goal_event": which.goal, "session_id": which.session}
    bounds = {"created_at__gte": which.since, "created_at__lt": which.until}
    plans = plans.filter(**{name: value for name, value in (exact | bounds).items() if value})
    of_plan = Task.objects.filter(plan=OuterRef("pk"))
    if which.agent:
        plans = plans.filter(Q(planner=which.agent) | Exists(of_plan.filter(agent=which.agent)))
    if which.q:
        texts = ("plan_id", "goal_event", "goal_data", "session_id", "error")
        plans = plans.filter(Q(*((f"{name}__icontains", which.q) for name in texts), _connector=Q.OR))
    for wanted, condition in ((which.stalled, Q(stalled=True)), (which.awaiting, AWAITING)):
        if wanted is not None:
            found = Exists(of_plan.filter(condition))
            plans = plans.filter(found if wanted else ~found)
    return plans


@router.get("/tracker/plans/{id:plan_id}/tasks", response={200: TaskPage, **MISSING})
@needs("read")
def plan_tasks(request: CallerRequest, plan_id: str, which: Query[Page]) -> HttpResponse:
    """The plan's tasks in order of arrival."""
    plan = sight(request, which.tenant).plan(plan_id)
    tasks = Task.objects.filter(plan=plan)
    found, cursor = page("plan-tasks", with_relatives(tasks), which.cursor, which.limit, by="position")
    return answer(page_body([task_item(task) for task in found], cursor))


@router.get("/tracker/plans/{id:plan_id}/log", response={200: LogPage, **MISSING})
@needs("read")
def plan_log(request: CallerRequest, plan_id: str, which: Query[LogAfter]) -> HttpResponse:
    """Rows of the plan's log from the one after `after`. Ask again with `next_after` until a page is empty."""
    rows = log_rows(sight(request, which.tenant).plan(plan_id), which.after, which.limit)
    return answer({"items": rows, "next_after": rows[-1]["seq"] if rows else None})


@router.get("/tracker/plans/{id:plan_id}/hierarchy", response={200: Hierarchy, **MISSING})
@needs("read")
def plan_hierarchy(request: CallerRequest, plan_id: str, tenant: Tenant = None) -> HttpResponse:
    """The tree of plans and tasks that the plan stands in, from its root down."""
    seen = sight(request, tenant)
    with one_moment():
        return answer(hierarchy(seen.plan(plan_id)))


@router.get("/tracker/plans/{id:plan_id}/state", response={200: PastState, **MISSING})
@needs("read")
def plan_state(request: CallerRequest, plan_id: str, which: Query[PastMoment]) -> HttpResponse:
    """The plan and its tasks as they were at a moment of the past, rebuilt from its log."""
    if which.seq is not None and which.at is not None:
        raise Invalid("give seq or at, not both", errors=[{"pointer": "/at", "detail": "seq is given as well"}])
    seen = sight(request, which.tenant)
    with one_moment():
        plan = seen.plan(plan_id)
        seq = which.seq or (seq_at(plan, which.at) if which.at else plan.seq)
        if not 1 <= seq <= plan.seq:
            raise NotFound(f"the plan was not there at that moment; its log has the rows 1 to {plan.seq}")
        state = replay(steps_of(plan, seq))
    past = state.plan | {"goal_data": orjson.Fragment(state.plan["goal_data"])}
    return answer({"plan_id": plan.plan_id, "seq": seq, "plan": past, "tasks": state.tasks})


@router.get("/tracker/plans/{id:plan_id}", response={200: PlanDetail, **MISSING})
@needs("read")
def plan_detail(request: CallerRequest, plan_id: str, tenant: Tenant = None) -> HttpResponse:
    """The plan and the state of each of its tasks by name; also what the SDK reads as a plan's progress."""
    seen = sight(request, tenant)
    with one_moment():
        plan = seen.plan(plan_id)
        return answer(_detail(plan, briefs(plan)))


def _detail(plan: Plan, tasks: Briefs) -> dict[str, Any]:
    return {
        "plan_id": plan.plan_id,
        "status": plan.state,
        "state": plan.state,
        "started_at": moment(plan.started_at or plan.created_at),
        "completed_at": moment(plan.completed_at),
        "task_count": plan.task_count,
        "completed_tasks": plan.completed_tasks,
        "failed_tasks": plan.failed_tasks,
        "cancelled_tasks": plan.cancelled_tasks,
        "open_tasks": plan.open_tasks,
        "current_state": plan.current_state or None,
        "seq": plan.seq,
        "version": plan.version,
        "approvals_pending": tasks.approvals,
        "stalled_tasks": tasks.stalled,
        "goal_event": plan.goal_event,
        "goal_data": orjson.Fragment(plan.goal_data),
        "session_id": plan.session_id or None,
        "parent_plan_id": plan.parent_plan_id or None,
        "trace_id": plan.trace_id or plan.plan_id,
        "planner": plan.planner or None,
        "tenant_id": plan.tenant_id,
        "user_id": plan.user_id or None,
        "error": plan.error or None,
        "created_at": moment(plan.created_at),
        "updated_at": moment(plan.updated_at),
        "tasks": orjson.Fragment(tasks.json),
    }
