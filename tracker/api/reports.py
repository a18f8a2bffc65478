"""What agents and people report of a task by REST. An id may hold slashes; every route ends with a word of its own."""

import re
from typing import Annotated, Any, Literal
from uuid import uuid4

from django.http import HttpResponse
from ninja import Body, Header, Router, Schema
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints

from accounts.auth import needs
from tracker.api.reading import sight
from tracker.api.wire import MISSING, CallerRequest, Problem, answer, json_text
from tracker.changes import Journal, Outcome, Progress, Reconcile, Step, TaskMove
from tracker.envelope import Moment, Text, no_nul
from tracker.errors import Conflict, Invalid, NotFound, VersionMismatch
from tracker.schemas import TaskState
from tracker.writer import record

router = Router(tags=["reports"])
MOST_STEPS = 1000
Prose = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(no_nul)]
Key = Annotated[Text | None, Header(alias="Idempotency-Key", description="a repeat is answered, not applied")]
ETag = Annotated[str | None, Header(alias="If-Match", description='the version that the task must have, as "v3"')]
ANSWERS: dict[int, Any] = {409: Problem, **MISSING}


class Told(Schema):
    """Input of agents: what is not known is refused, so that a typing error does not pass silently."""

    model_config = ConfigDict(extra="forbid")


class StepIn(Told):
    """One hop of the state table."""

    to: TaskState
    at: Moment | None = Field(None, description="when it happened, by the sender's clock")
    reason: Prose = ""
    event_id: Text = Field("", description="told again under this id, it is answered with its first outcome")
    error: Prose = ""
    result: JsonValue = None


class TransitionIn(StepIn):
    """A hop, perhaps only from a certain version."""

    expected_version: int | None = Field(None, ge=0)


class JournalIn(Told):
    """What an agent did offline."""

    base_version: int | None = Field(None, ge=0, description="the version that the first step was made from")
    steps: list[StepIn] = Field(min_length=1, max_length=MOST_STEPS)
    atomic: bool = True


class ReconcileIn(Told):
    """What an agent believes."""

    state: TaskState
    version: int | None = Field(None, ge=0)


class ProgressIn(Told):
    """How far a task is."""

    progress: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    message: Prose | None = None
    data: dict[str, JsonValue] | None = None


class ReasonIn(Told):
    """Why."""

    reason: Prose = ""


class Transition(Schema):
    """A move that was made."""

    task_id: str
    from_state: TaskState
    to_state: TaskState
    version: int
    seq: int
    event_id: str


@router.post("/tracker/tasks/{id:task_id}/transitions", response={201: Transition, 412: Problem, **ANSWERS})
@needs("publish")
def transition(
    request: CallerRequest, task_id: str, told: TransitionIn, key: Key = None, if_match: ETag = None
) -> HttpResponse:
    """Move a task by one legal hop."""
    wanted = told.expected_version if if_match is None else _version(if_match)
    step = _step(told, key)
    said = {name: getattr(step, name) for name in ("to", "event_id", "at", "reason", "error", "result")}
    outcome = _record(request, TaskMove, task_id, **said, expected_version=wanted)
    if outcome.result == "refused":
        raise _refusal(outcome, VersionMismatch if if_match is not None else Conflict)
    return _moved(outcome)


@router.post("/tracker/tasks/{id:task_id}/cancel", response={201: Transition, **ANSWERS})
@needs("act")
def cancel(request: CallerRequest, task_id: str, told: Body[ReasonIn | None] = None, key: Key = None) -> HttpResponse:
    """Cancel an open task."""
    return _order(request, task_id, "cancelled", told, key)


@router.post("/tracker/tasks/{id:task_id}/retry", response={201: Transition, **ANSWERS})
@needs("act")
def retry(request: CallerRequest, task_id: str, told: Body[ReasonIn | None] = None, key: Key = None) -> HttpResponse:
    """Let a failed or stalled task start anew: attempt + 1, its request is handed over again."""
    return _order(request, task_id, "pending", told, key)


@router.post("/tracker/tasks/{id:task_id}/journal", response=ANSWERS)
@needs("publish")
def journal(request: CallerRequest, task_id: str, told: JournalIn) -> HttpResponse:
    """Replay what an agent did while it was offline."""
    steps = [_step(step, None) for step in told.steps]
    outcome = _record(request, Journal, task_id, steps=steps, base_version=told.base_version, atomic=told.atomic)
    return _told(outcome)


@router.post("/tracker/tasks/{id:task_id}/reconcile", response=ANSWERS)
@needs("publish")
def reconcile(request: CallerRequest, task_id: str, told: ReconcileIn) -> HttpResponse:
    """Compare with what an agent believes and walk what is missing; a second call changes nothing."""
    return _told(_record(request, Reconcile, task_id, state=told.state, version=told.version))


@router.post("/tracker/tasks/{id:task_id}/progress", response=ANSWERS)
@needs("publish")
def progress(request: CallerRequest, task_id: str, told: ProgressIn) -> HttpResponse:
    """A heartbeat: the latest value is kept and shown live; no move, no version."""
    if told.data is not None:
        json_text(told.data, "data")
    return _told(_record(request, Progress, task_id, progress=told.progress, message=told.message, data=told.data))


def _record(
    request: CallerRequest, kind: type[TaskMove | Journal | Reconcile | Progress], task_id: str, **told: Any
) -> Outcome:
    caller = request.caller
    # A key that is bound to no tenant has to be told whose task it is; the ledger looks inside one tenant.
    tenant = caller.tenant_id if caller.tenant_id is not None else sight(request).tenant_of(task_id)
    change = kind(workspace_id=caller.workspace_id, tenant_id=tenant, by=caller.by, task_id=task_id, **told)
    outcome = record([change])[0]
    if outcome.result == "unknown":
        raise NotFound("there is no task with this id")
    return outcome


def _order(
    request: CallerRequest, task_id: str, to: Literal["cancelled", "pending"], told: ReasonIn | None, key: str | None
) -> HttpResponse:
    outcome = _record(
        request, TaskMove, task_id, to=to, reason=told.reason if told else "", event_id=key or str(uuid4())
    )
    if outcome.result == "refused":
        raise _refusal(outcome, Conflict)
    return _moved(outcome)


def _step(told: StepIn, key: str | None) -> Step:
    if told.result is not None:
        json_text(told.result, "result")
    return Step(told.to, key or told.event_id or str(uuid4()), told.at, told.reason, told.error, told.result)


def _version(if_match: str) -> int | None:
    if if_match.strip() == "*":
        return None
    found = re.fullmatch(r'\s*"v(\d{1,9})"\s*', if_match)
    if not found:
        raise Invalid('If-Match must be an entity tag as "v3"')
    return int(found[1])


def _refusal(outcome: Outcome, conflict: type[Conflict]) -> Conflict | Invalid:
    now = outcome.value
    match outcome.detail:
        case "version-conflict":
            return conflict(f"the task has version {now['version']}", code="version-conflict", **now)
        case "key-reused":
            return Invalid("the key was used for another request", code="idempotency-key-reused")
        case "task-ended":
            return Conflict(f"the task is {now['state']}", code="task-ended", **now)
    return Conflict(f"a {now['state']} task cannot go there", code="invalid-transition", **now)


def _moved(outcome: Outcome) -> HttpResponse:
    body = {"task_id": outcome.task_id, "seq": outcome.seq, "event_id": outcome.event_id, **outcome.value}
    response = answer(body, status=201)
    response["ETag"] = f'"v{outcome.value["version"]}"'
    return response


def _told(outcome: Outcome) -> HttpResponse:
    if outcome.result == "refused":
        raise _refusal(outcome, Conflict)
    return answer({"task_id": outcome.task_id, **outcome.value})
