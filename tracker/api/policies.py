"""A workspace's policies: what is done with tasks that stall, and how long tasks may take."""

from typing import Annotated, Any, Literal

from django.http import HttpResponse
from ninja import Router, Schema
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from accounts.auth import needs
from tracker import policies
from tracker.api.wire import REFUSALS, CallerRequest, answer
from tracker.changes import PoliciesSet
from tracker.envelope import no_nul
from tracker.errors import Forbidden
from tracker.liveness import LONGEST
from tracker.models import Policy
from tracker.writer import record

router = Router(tags=["policies"])
MOST = 200
FIELDS = ("task_type", "goal", "timeout", "action", "attempts", "backoff", "then", "late")
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(no_nul)]


class PolicyIn(Schema):
    """One policy; it applies to tasks whose type and whose plan's goal fit its patterns (`*` and `?`)."""

    model_config = ConfigDict(extra="forbid")

    task_type: Pattern = "*"
    goal: Pattern = "*"
    timeout: float | None = Field(None, gt=0, le=LONGEST, allow_inf_nan=False, description="seconds without progress")
    action: Literal["tell", "retry", "fail", "ask"] = Field("tell", description="what is done with a stalled task")
    attempts: int = Field(3, ge=1, le=1000, description="in all, with the first one")
    backoff: float = Field(1.0, ge=0, le=86_400, allow_inf_nan=False, description="seconds before the second attempt")
    then: Literal["tell", "fail", "ask"] = Field("tell", description="what is done when no attempt is left")
    late: Literal["refuse", "accept"] = Field("refuse", description="results of attempts that were given up on")


class PolicyList(Schema):
    """All of them, in their order: the first that fits applies."""

    model_config = ConfigDict(extra="forbid")

    items: list[PolicyIn] = Field(max_length=MOST)


@router.get("/policies", response={200: PolicyList, **REFUSALS})
@needs("read")
def list_policies(request: CallerRequest) -> HttpResponse:
    """The workspace's policies, in their order."""
    return answer(_listed(request.caller.workspace_id))


@router.put("/policies", response={200: PolicyList, **REFUSALS})
@needs("act")
def set_policies(request: CallerRequest, told: PolicyList) -> HttpResponse:
    """Replace all policies of the workspace by these; they hold for what stalls from now on."""
    caller = request.caller
    if caller.tenant_id is not None:
        raise Forbidden("policies hold for the whole workspace; this key is bound to one of its tenants")
    rows = [
        Policy(workspace_id=caller.workspace_id, position=place, **one.dict()) for place, one in enumerate(told.items)
    ]

    def write() -> None:
        Policy.objects.filter(workspace_id=caller.workspace_id).delete()
        Policy.objects.bulk_create(rows)

    record([PoliciesSet(workspace_id=caller.workspace_id, tenant_id="", by=caller.by, write=write)])
    policies.forget(caller.workspace_id)
    return answer(_listed(caller.workspace_id))


def _listed(workspace_id: int) -> dict[str, Any]:
    return {"items": list(Policy.objects.filter(workspace_id=workspace_id).order_by("position", "id").values(*FIELDS))}
