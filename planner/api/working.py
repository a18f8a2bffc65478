"""/v1/memory/working: values that the agents of a plan share, under keys of their own, which may hold slashes."""

from typing import Annotated, Any

from django.db.models import Q
from django.http import HttpResponse
from django.utils import timezone
from ninja import Path, Router
from pydantic import BaseModel, StringConstraints

from accounts.auth import Caller, needs
from planner import owners
from planner.models import KEY, WorkingMemory
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, FromAgent, Id, Prose, answer, json_text, stored
from tracker.errors import NotFound
from tracker.projections.rows import moment

Key = Annotated[Prose, StringConstraints(min_length=1, max_length=KEY)]

router = Router(tags=["memory"])


class ValueIn(FromAgent):
    """Any JSON, also null."""

    value: Any


class ValueOut(BaseModel):
    """A stored value."""

    id: str
    tenant_id: str
    user_id: str
    plan_id: str
    key: str
    value: Any
    updated_at: str


class KeyDeleted(BaseModel):
    """That a value is gone."""

    success: bool
    deleted: bool
    message: str


class PlanDeleted(BaseModel):
    """That all values of a plan are gone."""

    success: bool
    count_deleted: int
    message: str


def _shown(row: WorkingMemory) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "tenant_id": row.tenant_id,
        "user_id": row.user_id,
        "plan_id": row.plan_id,
        "key": row.key,
        "value": stored(row.value),
        "updated_at": moment(row.updated_at),
    }


def _owner(caller: Caller, plan_id: str) -> owners.Owner:
    return owners.settle(caller, owners.message(caller, plan_id), owners.plan(caller, plan_id))


@router.put("/memory/working/{plan_id}/{id:key}", response={200: ValueOut, **REFUSALS})
@needs("publish")
def put(
    request: CallerRequest, plan_id: Annotated[Id, Path()], key: Annotated[Key, Path()], body: ValueIn
) -> HttpResponse:
    """Set a value."""
    caller, now = request.caller, timezone.now()
    row = WorkingMemory(
        workspace_id=caller.workspace_id,
        **_owner(caller, plan_id)._asdict(),
        plan_id=plan_id,
        key=key,
        value=json_text(body.value, "value"),
        created_at=now,
        updated_at=now,
    )
    WorkingMemory.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "plan_id", "key", "tenant_id", "user_id"],
        update_fields=["value", "updated_at"],
    )
    return answer(_shown(row))


def _find(caller: Caller, plan_id: str, key: str) -> WorkingMemory:
    rows = WorkingMemory.objects.filter(owners.visible(caller), plan_id=plan_id, key=key)
    row = rows.order_by("-updated_at", "-pk").first()
    if row is None:
        raise NotFound("no value is stored under this key")
    return row


@router.get("/memory/working/{plan_id}/{id:key}", response={200: ValueOut, **MISSING})
@needs("read")
def get(request: CallerRequest, plan_id: Annotated[Id, Path()], key: Annotated[Key, Path()]) -> HttpResponse:
    """A value."""
    return answer(_shown(_find(request.caller, plan_id, key)))


@router.delete("/memory/working/{plan_id}/{id:key}", response={200: KeyDeleted, **MISSING})
@needs("publish")
def delete_key(request: CallerRequest, plan_id: Annotated[Id, Path()], key: Annotated[Key, Path()]) -> HttpResponse:
    """Forget a value."""
    _find(request.caller, plan_id, key).delete()
    return answer({"success": True, "deleted": True, "message": "the value is gone"})


@router.delete("/memory/working/{plan_id}", response={200: PlanDeleted, **REFUSALS})
@needs("publish")
def delete_plan(request: CallerRequest, plan_id: Annotated[Id, Path()]) -> HttpResponse:
    """Forget all values of a plan.

    A key that is not bound forgets those of the plan's owner and those whose owner was unknown, never another owner's:
    all tenants share the plan id of what is stored outside of plans.
    """
    caller = request.caller
    owner = _owner(caller, plan_id)
    whose = Q(tenant_id__in=[owner.tenant_id, ""], user_id__in=[owner.user_id, ""])
    gone, _ = WorkingMemory.objects.filter(owners.visible(caller) & whose, plan_id=plan_id).delete()
    return answer({"success": True, "count_deleted": gone, "message": f"{gone} values are gone"})
