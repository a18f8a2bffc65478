"""/v1/approvals: questions to people, and what they decide."""

import json
from typing import Annotated, Any, Literal
from uuid import uuid4

from django.http import HttpResponse
from ninja import Body, Header, Query, Router, Schema
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints

from accounts.auth import Caller, needs
from planner import answering, cards
from planner.asking import ASKED, Verb, Wrong, question
from planner.decisions import Decide, TakeVoteBack, Withdraw
from planner.models import Approval
from tracker.api.paging import page, page_body
from tracker.api.reading import sight
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, Problem, answer, json_text
from tracker.bus.publish import message_from
from tracker.changes import Change, Outcome
from tracker.envelope import Envelope, Owner, Text, no_nul
from tracker.errors import Conflict, Failed, Forbidden, Invalid, NotFound
from tracker.models import LogRow
from tracker.schemas import Page
from tracker.writer import record

router = Router(tags=["approvals"])
Prose = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(no_nul)]
Key = Annotated[Text | None, Header(alias="Idempotency-Key", description="a repeat is answered, not applied")]
ANSWERS: dict[int, Any] = {409: Problem, **MISSING}
State = Literal["pending", "decided", "expired", "withdrawn"]
LARGEST_PAYLOAD = 1_000_000  # characters


class ApprovalFilter(Page):
    """Which approvals; `assignee`: those that name this member."""

    state: list[State] = []
    assignee: Text | None = None
    plan: Text | None = None
    task: Text | None = None


class VoteOut(Schema):
    """What one person wants."""

    by: str
    decision: Verb
    comment: str | None
    payload: JsonValue
    at: str


class ApprovalOut(Schema):
    """A question to people. `left_out`: what is too long for a list, and there empty."""

    id: str
    plan_id: str
    goal_event: str
    task_id: str
    task_name: str
    state: State
    version: int
    title: str
    description: str
    action: str | None
    args: JsonValue
    options: list[JsonValue] | None
    response_schema: dict[str, JsonValue] | None
    allow: list[Verb]
    assignees: list[str]
    quorum: int
    reject_quorum: int
    reject_needs_comment: bool
    risk: Literal["low", "medium", "high"]
    blocks: str | None
    requested_by: str
    requested_at: str
    response_event: str | None
    correlation_id: str | None
    expires_at: str | None
    on_expiry: Literal["reject", "approve", "escalate"]
    escalate_to: list[str]
    votes: list[VoteOut]
    decision: Verb | None
    decided_by: str | None
    decided_at: str | None
    comment: str | None
    payload: JsonValue
    delivered_at: str | None
    tenant_id: str
    left_out: list[str] = []


class Step(Schema):
    """A message of the plan's log."""

    seq: int
    type: str
    at: str


class ApprovalDetail(ApprovalOut):
    """One question. `answered`: the first message of the agent that asked after the decision: how it went on."""

    answered: Step | None


class ApprovalPage(Schema):
    """A page of approvals, newest first."""

    items: list[ApprovalOut]
    next_cursor: str | None


class Told(Schema):
    """Input: what is not known is refused, so that a typing error does not pass silently."""

    model_config = ConfigDict(extra="forbid")


class ApprovalIn(Told):
    """A question that an agent asks directly; what the question itself may hold is said with `approval.requested`."""

    title: Annotated[Prose, Field(min_length=1)]
    description: str | None = None
    action: Text | None = None
    args: JsonValue = None
    options: list[JsonValue] | None = None
    response_schema: dict[str, JsonValue] | None = None
    allow: list[Verb] | None = None
    assignees: list[Text] | Text | None = None
    quorum: int | None = None
    reject_quorum: int | None = None
    reject_needs_comment: bool | None = None
    expires_in: float | None = None
    on_expiry: Literal["reject", "approve", "escalate"] | None = None
    escalate_to: list[Text] | Text | None = None
    risk: Literal["low", "medium", "high"] | None = None
    blocks: Text | None = None
    task_id: Text | None = None
    plan_id: Text | None = Field(None, description="without one, a plan of its own is opened")
    source: Text = Field("api", description="name of the agent that asks, and is answered")
    response_event: Text | None = Field(None, description="the type of the answer on action-results")
    correlation_id: Text | None = None
    session_id: Text | None = None
    tenant_id: Owner | None = Field(None, description="for keys that are bound to none")
    user_id: Owner | None = Field(None, description="for keys that are bound to none")


class DecisionIn(Told):
    """What somebody wants. `payload`: the arguments instead (edit), or the answer (respond)."""

    decision: Verb
    comment: Prose = ""
    payload: JsonValue = None
    expected_version: int | None = Field(None, ge=0)


class ReasonIn(Told):
    """Why."""

    reason: Prose = ""


@router.get("/approvals", response={200: ApprovalPage, **REFUSALS})
@needs("read")
def list_approvals(request: CallerRequest, which: Query[ApprovalFilter]) -> HttpResponse:
    """Approvals, newest first."""
    rows = cards.shortened(cards.seen(sight(request, which.tenant)))
    exact = {"state__in": which.state, "plan__plan_id": which.plan, "task__task_id": which.task}
    rows = rows.filter(**{name: value for name, value in exact.items() if value})
    if which.assignee:
        rows = rows.filter(cards.assigned(which.assignee))
    found, cursor = page("approvals", rows, which.cursor, which.limit)
    return answer(page_body([cards.short_card(row) for row in found], cursor))


@router.post("/approvals", response={201: ApprovalDetail, **ANSWERS})
@needs("publish")
def ask(request: CallerRequest, told: ApprovalIn, key: Key = None) -> HttpResponse:
    """Ask people: the same as an `approval.requested` on the bus, answered with the approval."""
    data = {name: value for name, value in told.model_dump(exclude=_ENVELOPE).items() if value is not None}
    json_text(data, "args")
    try:
        question(data)
    except Wrong as wrong:
        raise Invalid("the question cannot be put to anybody", errors=wrong.faults) from None
    message = message_from(request.caller, _envelope(request.caller, told, data, key))
    outcome = record([message])[0]
    row = _asked(request, outcome, told.source)
    if outcome.result == "duplicate" and json.loads(row["data"]) != data:
        raise Invalid("the key was used for another request", code="idempotency-key-reused")
    seen = cards.seen(sight(request, message.tenant_id))
    approval = seen.filter(task_id=row["task_id"]).order_by("-id").first()
    if approval is None:
        raise Conflict("there is no question: the plan has a task of this id already", code="task-exists")
    return _shown(approval, status=201)


_ENVELOPE = {"plan_id", "source", "response_event", "correlation_id", "session_id", "tenant_id", "user_id"}


def _envelope(caller: Caller, told: ApprovalIn, data: dict[str, Any], key: str | None) -> Envelope:
    tenant_id, user_id = told.tenant_id or caller.tenant_id, told.user_id or caller.user_id
    missing = [name for name, value in (("tenant_id", tenant_id), ("user_id", user_id)) if not value]
    if missing:
        faults = [{"pointer": f"/{name}", "detail": "is required: the key is bound to none"} for name in missing]
        raise Invalid("some fields are missing or wrong", errors=faults)
    named = {name: getattr(told, name) for name in ("plan_id", "source", "response_event", "session_id")}
    return Envelope(
        **named,
        id=key or str(uuid4()),
        topic="action-requests",
        type=ASKED,
        data=data,
        correlation_id=told.correlation_id or told.task_id,
        tenant_id=str(tenant_id),
        user_id=str(user_id),
    )


def _asked(request: CallerRequest, outcome: Outcome, source: str) -> dict[str, Any]:
    """The message that asked, and the task that it made (primary key)."""
    rows = LogRow.objects.filter(
        workspace_id=request.caller.workspace_id, event_id=outcome.event_id, source=source, kind=LogRow.Kind.MESSAGE
    )
    found = rows.order_by("-id").values("data", "task_id").first()
    if found is None:
        raise Failed
    return dict(found)


@router.post("/approvals/{id:approval_id}/decision", response={200: ApprovalDetail, **ANSWERS})
@needs("act")
def decide(request: CallerRequest, approval_id: str, told: DecisionIn, key: Key = None) -> HttpResponse:
    """Approve, reject, edit or respond; where several must agree, a vote. Decided once."""
    approval = cards.one(sight(request), approval_id)
    if approval.state == Approval.State.PENDING:
        _fits(approval, told)
    change = Decide(
        **_whose(request, approval),
        decision=told.decision,
        comment=told.comment,
        payload=json_text(told.payload, "payload"),
        expected_version=told.expected_version,
        key=key or "",
    )
    return _changed(request, approval_id, change)


@router.delete("/approvals/{id:approval_id}/vote", response={200: ApprovalDetail, **ANSWERS})
@needs("act")
def take_vote_back(request: CallerRequest, approval_id: str) -> HttpResponse:
    """Take back one's own vote before it is settled."""
    approval = cards.one(sight(request), approval_id)
    return _changed(request, approval_id, TakeVoteBack(**_whose(request, approval)))


@router.post("/approvals/{id:approval_id}/withdraw", response={200: ApprovalDetail, **ANSWERS})
@needs("publish")
def withdraw(request: CallerRequest, approval_id: str, told: Body[ReasonIn | None] = None) -> HttpResponse:
    """Take the question back: its task is cancelled, and nobody is answered."""
    approval = cards.one(sight(request), approval_id)
    return _changed(request, approval_id, Withdraw(**_whose(request, approval), reason=told.reason if told else ""))


@router.get("/approvals/{id:approval_id}", response={200: ApprovalDetail, **MISSING})
@needs("read")
def approval_detail(request: CallerRequest, approval_id: str) -> HttpResponse:
    """One approval in full; its version also as ETag."""
    return _shown(cards.one(sight(request), approval_id))


def _shown(approval: Approval, status: int = 200) -> HttpResponse:
    response = answer(cards.card(approval) | {"answered": cards.answered(approval)}, status)
    response["ETag"] = f'"v{approval.version}"'
    return response


def _whose(request: CallerRequest, approval: Approval) -> dict[str, Any]:
    return {
        "workspace_id": request.caller.workspace_id,
        "tenant_id": approval.tenant_id,
        "by": request.caller.by,
        "approval": approval.pk,
    }


def _fits(approval: Approval, told: DecisionIn) -> None:
    """What of a decision can be judged by the question alone, which never changes; raises Invalid."""
    allow = json.loads(approval.allow)
    if told.decision not in allow:
        raise _misfit("/decision", f"this question takes {', '.join(allow)}")
    if told.decision == "reject" and approval.reject_needs_comment and not told.comment.strip():
        raise _misfit("/comment", "say why: this question wants a reason with a rejection")
    if told.decision in {"approve", "reject"}:
        if told.payload is not None:
            raise _misfit("/payload", f"{told.decision} takes none; edit or respond do")
        return
    if len(json_text(told.payload, "payload")) > LARGEST_PAYLOAD:
        raise _misfit("/payload", f"may have {LARGEST_PAYLOAD} characters")
    args = json.loads(approval.args)
    if told.decision == "edit" and type(told.payload) is not (dict if args is None else type(args)):
        raise _misfit("/payload", "must be the arguments as they should be, of the same kind as they are")
    schema = json.loads(approval.response_schema)
    if told.decision == "respond" and schema is not None:
        _fits_schema(schema, told.payload)


def _fits_schema(schema: dict[str, Any], payload: Any) -> None:
    try:
        faults = answering.faults_of(schema, payload)
    except answering.CannotTell as why:
        raise _misfit("/payload", f"cannot be checked: the question's schema {why}") from None
    if faults:
        errors = [{"pointer": f"/payload{fault['pointer']}", "detail": fault["detail"]} for fault in faults]
        raise Invalid("the answer does not fit the question's schema", errors=errors)


def _misfit(pointer: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[{"pointer": pointer, "detail": detail}])


def _changed(request: CallerRequest, approval_id: str, change: Change) -> HttpResponse:
    outcome = record([change])[0]
    if outcome.result == "unknown":
        raise NotFound("there is no approval with this id")
    if outcome.result == "refused":
        raise _refusal(outcome)
    return _shown(cards.one(sight(request), approval_id))


def _refusal(outcome: Outcome) -> Exception:
    now, code = outcome.value, outcome.detail
    ended = f"{now['decided_by']} at {now['decided_at']}"
    match code:
        case "key-reused":
            return Invalid("the key was used for another request", code="idempotency-key-reused")
        case "not-assigned":
            return Forbidden("this question is for others to decide", code=code)
        case "already-decided":
            return Conflict(f"decided already: {now['decision']} by {ended}", code=code, **now)
        case "expired":
            return Conflict(f"nobody decided in time: {now['decision']} by {ended}", code=code, **now)
        case "withdrawn":
            return Conflict(f"no decision is needed any more: withdrawn by {ended}", code=code, **now)
        case "already-voted":
            return Conflict("you have voted; take the vote back to change it", code=code, **now)
        case "no-vote":
            return Conflict("you have not voted", code=code, **now)
    return Conflict(f"the approval has version {now['version']}", code=code, **now)
