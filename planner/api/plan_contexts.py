"""/v1/memory/plan-context: where planners' state machines stand, and which results concern them."""

from typing import Annotated, Any

import orjson
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.utils import timezone
from ninja import Path, Router
from pydantic import BaseModel, Field

from accounts.auth import Caller, needs
from planner import owners
from planner.models import PlanContext, PlanCorrelation
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, FromAgent, Id, Ids, answer, json_text, stored
from tracker.changes import ContextStored
from tracker.envelope import Text
from tracker.errors import NotFound
from tracker.linking import word
from tracker.models import Link
from tracker.projections.rows import moment
from tracker.writer import record

router = Router(tags=["memory"])


class PlanContextIn(FromAgent):
    """A planner's context of one plan."""

    plan_id: Id
    session_id: Text | None = None
    goal_event: Id
    goal_data: dict[str, Any] = Field(default_factory=dict)
    response_event: Text | None = None
    state: dict[str, Any] = Field(default_factory=dict)
    current_state: Text | None = None
    correlation_ids: Ids = Field(default_factory=list)


class PlanContextUpdate(FromAgent):
    """What has changed; a member that is left out or null has not."""

    state: dict[str, Any] | None = None
    current_state: Text | None = None
    correlation_ids: Ids | None = None


class PlanContextOut(BaseModel):
    """A stored plan context."""

    tenant_id: str
    user_id: str
    plan_id: str
    session_id: str | None
    goal_event: str
    goal_data: dict[str, Any]
    response_event: str | None
    state: dict[str, Any]
    current_state: str | None
    correlation_ids: list[str]
    created_at: str
    updated_at: str


def _shown(row: PlanContext) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "user_id": row.user_id,
        "plan_id": row.plan_id,
        "session_id": row.session_id or None,
        "goal_event": row.goal_event,
        "goal_data": stored(row.goal_data),
        "response_event": row.response_event or None,
        "state": stored(row.state),
        "current_state": row.current_state or None,
        "correlation_ids": stored(row.correlation_ids),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def _index(row: PlanContext, correlation_ids: list[str]) -> None:
    """Make the context be found by these correlation ids and no others."""
    wanted = {key for key in correlation_ids if key}
    there = set(row.correlations.values_list("key", flat=True))
    if wanted != there:
        row.correlations.filter(key__in=there - wanted).delete()
        new = [PlanCorrelation(context=row, workspace_id=row.workspace_id, key=key) for key in sorted(wanted - there)]
        PlanCorrelation.objects.bulk_create(new, ignore_conflicts=True)


def _store(fields: dict[str, Any], correlation_ids: list[str]) -> PlanContext:
    """Insert the context, or update what may change of the one that is there; the row as it now stands."""
    row = PlanContext(**fields)
    PlanContext.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "plan_id", "tenant_id", "user_id"],
        update_fields=["state", "current_state", "correlation_ids", "updated_at"],
    )
    _index(row, correlation_ids)
    return PlanContext.objects.get(pk=row.pk)


def _told(state: dict[str, Any]) -> dict[str, Any]:
    """What the planner's own state says to the tracker."""
    return {
        "status": word(state, "status") or None,
        "correlation_id": word(state, "correlation_id") or None,
        "parent_plan_id": word(state, "parent_plan_id") or None,
    }


def _owner(caller: Caller, body: PlanContextIn) -> owners.Owner:
    rows = PlanContext.objects.filter(owners.visible(caller), plan_id=body.plan_id).exclude(tenant_id="")
    return owners.settle(
        caller,
        owners.said(body.state),
        lambda: rows.order_by("-updated_at", "-pk").values_list("tenant_id", "user_id").first(),
        owners.message(caller, body.plan_id),
        owners.plan(caller, body.plan_id),
        owners.request(caller, body.goal_event, body.goal_data),
    )


@router.post("/memory/plan-context", response={200: PlanContextOut, **REFUSALS})
@needs("publish")
def save(request: CallerRequest, body: PlanContextIn) -> HttpResponse:
    """Store a plan's context; from now on its `state.status` says what state the plan is in.

    A second call updates state, current state and correlation ids; goal, session and response event stay as they were.
    """
    caller, now = request.caller, timezone.now()
    owner = _owner(caller, body)
    fields = {
        "workspace_id": caller.workspace_id,
        **owner._asdict(),
        "plan_id": body.plan_id,
        "session_id": body.session_id or "",
        "goal_event": body.goal_event,
        "goal_data": json_text(body.goal_data, "goalData"),
        "response_event": body.response_event or "",
        "state": json_text(body.state, "state"),
        "current_state": body.current_state or "",
        "correlation_ids": json_text(body.correlation_ids, "correlationIds"),
        "created_at": now,
        "updated_at": now,
    }
    change = ContextStored(
        workspace_id=caller.workspace_id,
        tenant_id=owner.tenant_id,
        user_id=owner.user_id,
        by=caller.by,
        plan_id=body.plan_id,
        goal_event=body.goal_event,
        goal_data=body.goal_data,
        response_event=body.response_event,
        session_id=body.session_id,
        current_state=body.current_state,
        correlation_ids=[key for key in body.correlation_ids if key],
        write=lambda: _store(fields, body.correlation_ids),
        **_told(body.state),
    )
    return answer(_shown(record([change])[0].value))


def _newest(rows: QuerySet[PlanContext]) -> PlanContext | None:
    return rows.order_by("-updated_at", "-pk").first()


def _known(row: PlanContext | None) -> PlanContext:
    if row is None:
        raise NotFound("no plan context is stored for this")
    return row


def _by_alias(caller: Caller, correlation_id: str) -> QuerySet[PlanContext]:
    """The context of the plan for whose task a stored task context of this id stands.

    A worker that delegates makes up an id for a task whose request named none, and answers under it when it resumes.
    Ids of delegated sub-tasks are left out: their results are for the worker alone.
    """
    links = Link.objects.filter(workspace_id=caller.workspace_id, key=correlation_id)
    if caller.tenant_id is not None:
        links = links.filter(tenant_id=caller.tenant_id)
    found = list(links.values_list("tenant_id", "kind", "plan__plan_id"))
    sub_tasks = {tenant for tenant, kind, _ in found if kind == Link.Kind.SUBTASK}
    plans = [(t, plan) for t, kind, plan in found if kind == Link.Kind.CONTEXT and plan and t not in sub_tasks]
    if not plans:
        return PlanContext.objects.none()
    wanted = Q(*(Q(tenant_id=tenant, plan_id=plan) for tenant, plan in plans), _connector=Q.OR)
    return PlanContext.objects.filter(owners.visible(caller) & wanted)


@router.get("/memory/plan-context/by-correlation/{id:correlation_id}", response={200: PlanContextOut, **MISSING})
@needs("read")
def by_correlation(request: CallerRequest, correlation_id: Annotated[Id, Path()]) -> HttpResponse:
    """The context that a result with this correlation id concerns. Asked for each result on the bus; mostly 404."""
    caller = request.caller
    own = PlanCorrelation.objects.filter(owners.visible_contexts(caller), key=correlation_id).select_related("context")
    newest = own.order_by("-context__updated_at", "-context_id").first()
    row = newest.context if newest else _newest(_by_alias(caller, correlation_id))
    return answer(_shown(_known(row)))


@router.get("/memory/plan-context/{id:plan_id}", response={200: PlanContextOut, **MISSING})
@needs("read")
def load(request: CallerRequest, plan_id: Annotated[Id, Path()]) -> HttpResponse:
    """A plan's context."""
    rows = PlanContext.objects.filter(owners.visible(request.caller), plan_id=plan_id)
    return answer(_shown(_known(_newest(rows))))


def _update(pk: int, body: PlanContextUpdate, fields: dict[str, Any]) -> PlanContext | None:
    """The updated row; None if it is gone."""
    if not PlanContext.objects.filter(pk=pk).update(updated_at=timezone.now(), **fields):
        return None
    row = PlanContext.objects.get(pk=pk)
    if body.correlation_ids is not None:
        _index(row, body.correlation_ids)
    return row


@router.put("/memory/plan-context/{id:plan_id}", response={200: PlanContextOut, **MISSING})
@needs("publish")
def update(request: CallerRequest, plan_id: Annotated[Id, Path()], body: PlanContextUpdate) -> HttpResponse:
    """Update a plan's context; like a store, its status says what state the plan is in."""
    caller = request.caller
    row = _known(_newest(PlanContext.objects.filter(owners.visible(caller), plan_id=plan_id)))
    given = {name: value for name, value in body if value is not None}
    fields = {name: value if name == "current_state" else json_text(value, name) for name, value in given.items()}
    change = ContextStored(
        workspace_id=caller.workspace_id,
        tenant_id=row.tenant_id,
        user_id=row.user_id,
        by=caller.by,
        plan_id=plan_id,
        current_state=body.current_state,
        correlation_ids=[key for key in orjson.loads(fields.get("correlation_ids", row.correlation_ids)) if key],
        write=lambda: _update(row.pk, body, fields),
        **_told(body.state or {}),
    )
    return answer(_shown(_known(record([change])[0].value)))
