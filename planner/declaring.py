"""A plan is declared: it begins to exist, and its first step is asked for, in one transaction."""

from dataclasses import dataclass
from typing import Any

from planner import engine
from planner.declared_models import DeclaredPlan
from planner.machine import Run
from tracker import ledger
from tracker.changes import Change, Outcome
from tracker.envelope import TRACKER, dumps
from tracker.known import scope_of
from tracker.rules import adopt
from tracker.world import World

TAKEN, REUSED = "plan-exists", "key-reused"


@dataclass(slots=True, kw_only=True)
class Declare(Change):
    """Somebody wants a plan to be run by the server. `definition`: the JSON text that came, checked before.

    `key`: of the request, told again it is answered with the plan that it made.
    """

    plan_id: str
    user_id: str
    goal: str
    goal_data: dict[str, Any]
    definition: str
    session_id: str = ""
    parent_plan_id: str = ""
    response_event: str = ""
    key: str = ""


def register() -> None:
    """Join the ledger."""
    ledger.register_change(Declare, declare)


def declare(world: World, change: Declare) -> Outcome:
    """Make the plan and enter its first state; refused when its id is taken, or its key was used for another plan."""
    scope = scope_of(change)
    if plan := world.plan(scope, change.plan_id):
        return _there_already(plan.id, change)
    plan = world.add_plan(scope, change.plan_id)
    given: dict[str, Any] = {"session_id": change.session_id, "parent_plan_id": change.parent_plan_id}
    world.move(
        plan,
        None,
        "in_progress",
        by=change.by,
        reason="declared",
        user_id=change.user_id,
        goal_event=change.goal,
        goal_data=dumps(change.goal_data),
        response_event=change.response_event,
        correlation_id=change.plan_id,
        planner=TRACKER,
        governed=True,
        **{name: value for name, value in given.items() if value},
    )
    row = DeclaredPlan.objects.create(
        plan_id=plan.id,
        workspace_id=plan.workspace_id,
        goal=change.goal,
        definition=change.definition,
        run=dumps(Run().model_dump()),
        key=change.key,
        created_at=world.now,
    )
    engine.begin(world, plan, row)
    adopt(world, plan, [plan.plan_id])
    return Outcome("recorded", plan_id=plan.plan_id, seq=1)


def _there_already(key: int, change: Declare) -> Outcome:
    same = DeclaredPlan.objects.filter(plan_id=key).first()
    if same is None or not change.key or same.key != change.key:
        return Outcome("refused", plan_id=change.plan_id, detail=TAKEN)
    if same.definition != change.definition:
        return Outcome("refused", plan_id=change.plan_id, detail=REUSED)
    return Outcome("duplicate", plan_id=change.plan_id, seq=1)
