"""/v1/memory/plans: the records that planners file when they take on a goal."""

from typing import Annotated, Any

from django.db.models import OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.utils import timezone
from ninja import Path, Query, Router
from pydantic import BaseModel, Field

from accounts.auth import Caller, needs
from planner import owners
from planner.models import PlanContext, Session, StoredPlan
from tracker.api.wire import (
    MISSING,
    REFUSALS,
    CallerRequest,
    FromAgent,
    Id,
    Problem,
    answer,
    json_text,
    no_content,
    stored,
)  # fmt: skip
from tracker.changes import PlanFiled
from tracker.envelope import Text
from tracker.errors import Conflict, NotFound
from tracker.models import Plan
from tracker.projections.rows import moment
from tracker.writer import record

RUNNING = "running"  # the SDK's word for a plan that has not ended and is not paused
RUNNING_STATES = ("pending", "in_progress")

router = Router(tags=["memory"])


class PlanIn(FromAgent):
    """A plan that begins."""

    plan_id: Id
    session_id: Text | None = None
    goal_event: Id
    goal_data: dict[str, Any] = Field(default_factory=dict)
    parent_plan_id: Text | None = None


class PlanSummary(BaseModel):
    """A plan's record; `status` is running, paused, completed, failed or cancelled."""

    tenant_id: str
    user_id: str
    plan_id: str
    session_id: str | None
    goal_event: str
    goal_data: dict[str, Any]
    status: str
    parent_plan_id: str | None
    created_at: str
    updated_at: str


def _shown(row: StoredPlan, state: str) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "user_id": row.user_id,
        "plan_id": row.plan_id,
        "session_id": row.session_id or None,
        "goal_event": row.goal_event,
        "goal_data": stored(row.goal_data),
        "status": RUNNING if state in RUNNING_STATES else state,
        "parent_plan_id": row.parent_plan_id or None,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def _file(caller: Caller, owner: owners.Owner, body: PlanIn, goal_data: str) -> tuple[StoredPlan, bool]:
    """The record and whether it is new; its session has been used."""
    now = timezone.now()
    whose = {"workspace_id": caller.workspace_id, **owner._asdict()}
    if body.session_id:
        Session.objects.filter(**whose, session_id=body.session_id).update(updated_at=now)
    return StoredPlan.objects.get_or_create(
        **whose,
        plan_id=body.plan_id,
        defaults={
            "session_id": body.session_id or "",
            "parent_plan_id": body.parent_plan_id or "",
            "goal_event": body.goal_event,
            "goal_data": goal_data,
            "created_at": now,
            "updated_at": now,
        },
    )


@router.post("/memory/plans", response={201: PlanSummary, 409: Problem, **REFUSALS})
@needs("publish")
def create(request: CallerRequest, body: PlanIn) -> HttpResponse:
    """File a plan: from now on the tracker follows it. 409 if the plan has a record already."""
    caller, goal_data = request.caller, json_text(body.goal_data, "goalData")
    owner = owners.settle(
        caller,
        owners.message(caller, body.plan_id),
        owners.plan(caller, body.plan_id),
        owners.request(caller, body.goal_event, body.goal_data),
    )
    taken = Conflict("this plan has a record already")
    if StoredPlan.objects.filter(workspace_id=caller.workspace_id, **owner._asdict(), plan_id=body.plan_id).exists():
        raise taken
    change = PlanFiled(
        workspace_id=caller.workspace_id,
        tenant_id=owner.tenant_id,
        user_id=owner.user_id,
        by=caller.by,
        plan_id=body.plan_id,
        goal_event=body.goal_event,
        goal_data=body.goal_data,
        session_id=body.session_id or "",
        parent_plan_id=body.parent_plan_id or "",
        write=lambda: _file(caller, owner, body, goal_data),
    )
    row, created = record([change])[0].value
    if not created:
        raise taken
    return answer(_shown(row, RUNNING), status=201)


def _with_state(rows: QuerySet[StoredPlan]) -> QuerySet[StoredPlan]:
    """Each record with the state that the tracker sees its plan in."""
    same = {name: OuterRef(name) for name in ("workspace_id", "plan_id", "tenant_id")}
    return rows.annotate(
        state=Coalesce(Subquery(Plan.objects.filter(**same).values("state")), Value(RUNNING_STATES[0]))
    )


@router.get("/memory/plans", response={200: list[PlanSummary], **REFUSALS})
@needs("read")
def find(
    request: CallerRequest,
    status: Annotated[Text | None, Query()] = None,
    session_id: Annotated[Text | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> HttpResponse:
    """Records of plans, newest first."""
    wanted = owners.visible(request.caller)
    if session_id is not None:
        wanted &= Q(session_id=session_id)
    if status is not None:
        wanted &= Q(state__in=RUNNING_STATES if status == RUNNING else [status])
    rows = _with_state(StoredPlan.objects.all()).filter(wanted).order_by("-pk")[:limit]
    return answer([_shown(row, row.state) for row in rows])  # type: ignore[attr-defined]


@router.delete("/memory/plans/{id:plan_id}", response={204: None, **MISSING})
@needs("publish")
def delete(request: CallerRequest, plan_id: Annotated[Id, Path()]) -> HttpResponse:
    """Forget a plan's record and its context. What the tracker knows of the plan stays."""
    wanted = owners.visible(request.caller) & Q(plan_id=plan_id)
    newest = (
        StoredPlan.objects.filter(wanted).order_by("-pk").first()
        or PlanContext.objects.filter(wanted).order_by("-updated_at", "-pk").first()
    )
    if newest is None:
        raise NotFound("no such plan is stored")
    whose = Q(workspace_id=newest.workspace_id, tenant_id=newest.tenant_id, user_id=newest.user_id, plan_id=plan_id)
    StoredPlan.objects.filter(whose).delete()
    PlanContext.objects.filter(whose).delete()
    return no_content()
