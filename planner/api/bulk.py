"""One order to many plans: what would come of it, or what came of it, plan by plan."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from django.http import HttpResponse
from ninja import Router, Schema
from pydantic import ConfigDict, Field

from accounts.auth import needs
from planner.api.plans import ReasonIn
from tracker.api.reading import sight
from tracker.api.wire import REFUSALS, CallerRequest, Problem, answer
from tracker.changes import Outcome, PlanMove
from tracker.envelope import Text
from tracker.errors import Unavailable
from tracker.models import Plan
from tracker.moves import may_move
from tracker.schemas import PlanState
from tracker.writer import record

router = Router(tags=["plans"])
MOST = 1000  # plans of one order
PLANS_AT_ONCE, TASKS_AT_ONCE = 100, 5000  # in one transaction: others wait meanwhile
TARGETS = {"cancel": "cancelled", "pause": "paused", "resume": "in_progress"}
PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}
COLUMNS = ("id", "plan_id", "tenant_id", "state", "held", "version", "goal_event", "task_count",
           "completed_tasks", "failed_tasks", "cancelled_tasks")  # fmt: skip


class BulkIn(ReasonIn):
    """An order, and the plans that it is for."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["cancel", "pause", "resume"]
    plan_ids: Annotated[list[Text], Field(min_length=1, max_length=MOST)]
    preview: bool = Field(False, description="only say what would come of it")


class BulkItem(Schema):
    """What came of one plan. `possible`: it would be done; `not_tried`: the server could not just now."""

    plan_id: str
    outcome: Literal["done", "possible", "refused", "unknown", "not_tried"]
    detail: str | None = Field(description="why it is not done")
    goal_event: str | None
    state: PlanState | None
    version: int | None
    seq: int | None = Field(description="the row of its log that says so")
    open_tasks: int | None = Field(description="that were open before")


class BulkOut(Schema):
    """What came of each plan, in their order, each named once."""

    action: Literal["cancel", "pause", "resume"]
    results: list[BulkItem]
    done: int = Field(description="in a preview: that would be")


@router.post("/plans/bulk", response={200: BulkOut, 503: Problem, **REFUSALS})
@needs("act")
def bulk(request: CallerRequest, told: BulkIn) -> HttpResponse:
    """Cancel, pause or resume up to 1,000 plans; each is done whole or not at all, and none keeps another from it."""
    names = list(dict.fromkeys(told.plan_ids))
    plans = _found(request, names)
    results = {name: _unknown(name) for name in names}
    if told.preview:
        results |= {name: _foreseen(plan, told.action) for name, plan in plans.items()}
    else:
        for some in _portions([plans[name] for name in names if name in plans]):
            results |= _carry_out(request, told, some)
    done = sum(one["outcome"] in {"done", "possible"} for one in results.values())
    return answer({"action": told.action, "results": list(results.values()), "done": done})


def _found(request: CallerRequest, names: list[str]) -> dict[str, Plan]:
    """The plans in sight by their ids; of several tenants' plans of one id the newest."""
    plans = sight(request).plans().filter(plan_id__in=names).only(*COLUMNS).order_by("id")
    return {plan.plan_id: plan for plan in plans}


def _portions(plans: list[Plan]) -> Iterator[list[Plan]]:
    """The plans in portions that one transaction may hold."""
    some: list[Plan] = []
    tasks = 0
    for plan in plans:
        if some and (len(some) >= PLANS_AT_ONCE or tasks + plan.open_tasks > TASKS_AT_ONCE):
            yield some
            some, tasks = [], 0
        some.append(plan)
        tasks += plan.open_tasks
    if some:
        yield some


def _carry_out(request: CallerRequest, told: BulkIn, plans: list[Plan]) -> dict[str, dict[str, Any]]:
    caller = request.caller
    orders = [
        PlanMove(
            workspace_id=caller.workspace_id,
            tenant_id=plan.tenant_id,
            by=caller.by,
            plan_id=plan.plan_id,
            to=TARGETS[told.action],
            reason=told.reason,
        )
        for plan in plans
    ]
    try:
        outcomes = record(orders)
    except Unavailable as error:
        return {plan.plan_id: _item(plan, "not_tried", error.detail) for plan in plans}
    return {plan.plan_id: _done(plan, told.action, each) for plan, each in zip(plans, outcomes, strict=True)}


def _foreseen(plan: Plan, action: str) -> dict[str, Any]:
    if may_move(plan, TARGETS[action]):
        return _item(plan, "possible")
    return _item(plan, "refused", _why_not(plan.state, action))


def _done(plan: Plan, action: str, outcome: Outcome) -> dict[str, Any]:
    if outcome.result == "unknown":
        return _unknown(plan.plan_id)
    plan.state, plan.version = outcome.value["state"], outcome.value["version"]
    if outcome.result == "refused":
        return _item(plan, "refused", _why_not(plan.state, action))
    return _item(plan, "done") | {"seq": outcome.seq}


def _why_not(state: str, action: str) -> str:
    if action == "resume" and state == "in_progress":
        return "it goes on already"
    return (
        "it is held already" if action == "pause" and state == "paused" else f"a {state} plan cannot be {PAST[action]}"
    )


def _item(plan: Plan, outcome: str, detail: str | None = None) -> dict[str, Any]:
    return {
        "plan_id": plan.plan_id,
        "outcome": outcome,
        "detail": detail,
        "goal_event": plan.goal_event,
        "state": plan.state,
        "version": plan.version,
        "seq": None,
        "open_tasks": plan.open_tasks,
    }


def _unknown(name: str) -> dict[str, Any]:
    empty = dict.fromkeys(("goal_event", "state", "version", "seq", "open_tasks"))
    return {"plan_id": name, "outcome": "unknown", "detail": "there is no plan with this id", **empty}
