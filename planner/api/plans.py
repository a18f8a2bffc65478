"""What an operator does to a plan: cancel it, pause it, let it go on.

An id may hold slashes; every route ends with a word.
"""

from typing import Annotated, Any

from django.http import HttpResponse
from ninja import Body, Router, Schema
from pydantic import AfterValidator, ConfigDict, StringConstraints

from accounts.auth import needs
from tracker.api.reading import sight
from tracker.api.wire import MISSING, CallerRequest, Problem, answer
from tracker.changes import PlanMove
from tracker.envelope import no_nul
from tracker.errors import Conflict, NotFound
from tracker.schemas import PlanState
from tracker.writer import record

router = Router(tags=["plans"])
ANSWERS: dict[int, Any] = {409: Problem, **MISSING}


class ReasonIn(Schema):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(max_length=10_000), AfterValidator(no_nul)] = ""


class Moved(Schema):
    """Where the plan is now; `seq` is the row that says so."""

    plan_id: str
    state: PlanState
    version: int
    seq: int


@router.post("/plans/{id:plan_id}/cancel", response={200: Moved, **ANSWERS})
@needs("act")
def cancel(request: CallerRequest, plan_id: str, told: Body[ReasonIn | None] = None) -> HttpResponse:
    """Cancel a plan and all of its open tasks; agents are told on `system-events`."""
    return _move(request, plan_id, "cancelled", told)


@router.post("/plans/{id:plan_id}/pause", response={200: Moved, **ANSWERS})
@needs("act")
def pause(request: CallerRequest, plan_id: str, told: Body[ReasonIn | None] = None) -> HttpResponse:
    """Hold back the plan's requests that no agent has yet, until somebody resumes it."""
    return _move(request, plan_id, "paused", told)


@router.post("/plans/{id:plan_id}/resume", response={200: Moved, **ANSWERS})
@needs("act")
def resume(request: CallerRequest, plan_id: str, told: Body[ReasonIn | None] = None) -> HttpResponse:
    """Let a paused plan go on; what was held back is handed over."""
    return _move(request, plan_id, "in_progress", told)


def _move(request: CallerRequest, plan_id: str, to: str, told: ReasonIn | None) -> HttpResponse:
    caller = request.caller
    tenant = caller.tenant_id if caller.tenant_id is not None else sight(request).plan(plan_id).tenant_id
    change = PlanMove(
        workspace_id=caller.workspace_id,
        tenant_id=tenant,
        by=caller.by,
        plan_id=plan_id,
        to=to,
        reason=told.reason if told else "",
    )
    outcome = record([change])[0]
    if outcome.result == "unknown":
        raise NotFound("unknown id")
    if outcome.result == "refused":
        state = outcome.value["state"]
        raise Conflict(f"a {state} plan cannot become {to}", code="invalid-transition", **outcome.value)
    return answer({"plan_id": outcome.plan_id, "seq": outcome.seq, **outcome.value})
