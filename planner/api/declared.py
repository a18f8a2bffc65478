"""Plans that the server itself runs: declare one, try a definition, see where a machine stands.

An id may hold slashes; its route ends with a word.
"""

from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from django.http import HttpResponse
from django.template.loader import render_to_string
from ninja import Header, Router, Schema
from pydantic import JsonValue

from accounts.auth import Caller, needs
from planner import drawing
from planner.declared_models import DeclaredPlan
from planner.declaring import REUSED, Declare
from planner.definition import Declared, Reading, read
from planner.machine import Run
from tracker.api.reading import sight
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, Problem, answer, stored
from tracker.envelope import Text, dumps, loads
from tracker.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from tracker.writer import record

router = Router(tags=["plans"])
LARGEST = 1_000_000  # bytes of a definition
Key = Annotated[Text | None, Header(alias="Idempotency-Key", description="a repeat is answered, not applied")]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Declared"}}},
    }
}


class Fault(Schema):
    """What is wrong with a definition, and where in it."""

    pointer: str
    detail: str


class PlanDeclared(Schema):
    """The plan that was made. It is under way: its state is for `GET /v1/tracker/plans/{id}` to tell."""

    plan_id: str
    goal: str
    tenant_id: str
    user_id: str
    session_id: str | None
    initial_state: str


class Tried(Schema):
    """What a definition is worth. `svg` and `text`: its machine, drawn and told, as far as it can be read."""

    valid: bool
    problems: list[Fault]
    svg: str | None
    text: list[str]


class Machine(Schema):
    """The definition of a declared plan, as it came, and where its machine stands."""

    plan_id: str
    definition: dict[str, JsonValue]
    phase: str
    state: str
    visit: int
    visited: dict[str, int]
    taken: list[list[str]]
    results: dict[str, JsonValue]
    error: str | None


@router.post("/plans", response={201: PlanDeclared, 409: Problem, 413: Problem, **REFUSALS}, openapi_extra=BODY)
@needs("act")
def declare(request: CallerRequest, key: Key = None) -> HttpResponse:
    """Declare a plan that the server itself runs: its first step is asked for before this is answered."""
    document = _document(request)
    plan = _sound(read(document))
    caller = request.caller
    tenant, user = _whose(caller, plan)
    made = f"{caller.workspace_id}/{tenant}/{key}"
    change = Declare(
        workspace_id=caller.workspace_id,
        tenant_id=tenant,
        by=caller.by,
        user_id=user,
        plan_id=plan.plan_id or str(uuid5(NAMESPACE_URL, made) if key else uuid4()),
        goal=plan.goal,
        goal_data=plan.goal_data,
        definition=dumps(document),
        session_id=plan.session_id or "",
        parent_plan_id=plan.parent_plan_id or "",
        response_event=plan.response_event or "",
        key=key or "",
    )
    outcome = record([change])[0]
    if outcome.result == "refused":
        if outcome.detail == REUSED:
            raise Invalid("the key was used for another plan", code="idempotency-key-reused")
        raise Conflict(f"there is a plan {change.plan_id} already", code=outcome.detail)
    body = {
        "plan_id": change.plan_id,
        "goal": plan.goal,
        "tenant_id": tenant,
        "user_id": user,
        "session_id": plan.session_id,
        "initial_state": plan.initial_state,
    }
    return answer(body, status=201)


@router.post("/plans/validate", response={200: Tried, 413: Problem, **REFUSALS}, openapi_extra=BODY)
@needs("read")
def validate(request: CallerRequest) -> HttpResponse:
    """Name everything that is wrong with a definition, and draw its machine; nothing is recorded."""
    reading = read(_document(request))
    drawn = {"drawing": drawing.draw(reading.states, reading.initial)} if reading.states else None
    body = {
        "valid": reading.plan is not None,
        "problems": reading.problems,
        "svg": render_to_string("planner/_machine.svg", drawn) if drawn else None,
        "text": drawing.told(reading.states, reading.initial),
    }
    return answer(body)


@router.get("/plans/{id:declared_id}/machine", response={200: Machine, **MISSING})
@needs("read")
def machine(request: CallerRequest, declared_id: str) -> HttpResponse:
    """Where the machine of a declared plan stands; 404 for plans that the server does not run."""
    row = DeclaredPlan.objects.filter(plan_id=sight(request).plan(declared_id).pk).first()
    if row is None:
        raise NotFound("there is no declared plan with this id")
    run = Run.model_validate(loads(row.run))
    body = {
        "plan_id": declared_id,
        "definition": stored(row.definition),
        "phase": run.phase,
        "state": run.state,
        "visit": run.visit,
        "visited": run.visited,
        "taken": run.taken,
        "results": stored(dumps(run.results)),
        "error": run.error or None,
    }
    return answer(body)


def _document(request: CallerRequest) -> Any:
    if len(request.body) > LARGEST:
        raise TooLarge(f"a definition may have {LARGEST} bytes")
    try:
        return loads(request.body)
    except ValueError as error:
        raise Invalid("the body is no JSON", errors=[{"pointer": "", "detail": str(error)}]) from error


def _sound(reading: Reading) -> Declared:
    if reading.plan is None:
        count = len(reading.problems)
        told = "the definition has a fault" if count == 1 else f"the definition has {count} faults"
        raise Invalid(told, errors=reading.problems)
    return reading.plan


def _whose(caller: Caller, plan: Declared) -> tuple[str, str]:
    """Tenant and user of the plan: those of the key, else those that the body names; a member is a user."""
    for bound, said in ((caller.tenant_id, plan.tenant_id), (caller.user_id, plan.user_id)):
        if bound is not None and said not in (None, bound):
            raise Forbidden("the key is bound to another tenant or user")
    own = caller.by.partition(":")[2] if caller.member_id is not None else None
    tenant, user = caller.tenant_id or plan.tenant_id, caller.user_id or plan.user_id or own
    given = {"tenant_id": tenant, "user_id": user}
    missing = [{"pointer": f"/{n}", "detail": "is missing: the key is bound to none"} for n in given if not given[n]]
    if not tenant or not user:
        raise Invalid("say whose plan it is", errors=missing)
    return tenant, user
