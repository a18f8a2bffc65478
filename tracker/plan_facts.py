"""What agents and contexts say about a plan: that it started, waits, goes on, or has ended."""

from datetime import datetime
from typing import Any

from tracker import linking, sql
from tracker.linking import Heard, word
from tracker.records import PlanRecord, RowRecord
from tracker.states import PLAN
from tracker.world import World


def plan_fact(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """A fact about the plan that an agent tells."""
    data, by = heard.data, f"agent:{heard.source}"
    match heard.type:
        case "plan.started":
            started(world, plan, heard)
        case "plan.waiting_for_input":
            pause(world, plan, heard, row)
        case "plan.state_changed":
            state = str(data.get("new_state"))
            pausing(world, plan, heard, row, linking.PLAN_STATES.get(state, state))
        case ended:
            error = (
                linking.storable(str(data.get("error") or data.get("reason") or "")) if ended == "plan.failed" else ""
            )
            say(world, plan, ended.removeprefix("plan."), by=by, heard=heard, row=row, error=error)


def started(world: World, plan: PlanRecord, heard: Heard) -> None:
    """An agent announces its plan: its goal, and how many actions it will have."""
    data = heard.data
    goal = word(data, "goal_event") or word(data, "goal") or word(data, "plan_name") or word(data, "goal_type")
    new: dict[str, Any] = {}
    if goal and not plan.goal_event:
        new["goal_event"] = goal
    if isinstance(total := data.get("total_actions"), int) and not isinstance(total, bool) and 0 <= total < 2**31:
        new["total_actions"] = total
    if not plan.planner:
        new["planner"] = heard.source
    world.note(plan, None, by=f"agent:{heard.source}", cause=heard, **new)
    if plan.state == "pending":
        world.move(plan, None, "in_progress", by=f"agent:{heard.source}", cause=heard)


def pause(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """The plan waits for somebody.

    If what it waits for was sent after this and has overtaken it, it goes on instead.
    """
    expected = word(heard.data, "expected_event")
    if not (expected and _arrived_since(world, plan, expected, heard.occurred_at)):
        pausing(world, plan, heard, row, "paused", waiting_for=expected)
    elif plan.state == "paused":
        pausing(world, plan, heard, row, "in_progress")
    if not row.reason and plan.state != "paused":
        row.reason = "what it waits for is there already"


def _arrived_since(world: World, plan: PlanRecord, type: str, at: datetime) -> bool:
    if any(r.plan_id == plan.id and r.type == type and r.kind == "message" and r.occurred_at >= at for r in world.rows):
        return True
    query = """
        SELECT 1 FROM tracker_logrow
        WHERE plan_id = %s AND kind = 'message' AND type = %s AND occurred_at >= %s LIMIT 1"""
    return bool(sql.rows(query, [plan.id, type, sql.native(at)]))


def pausing(world: World, plan: PlanRecord, heard: Heard, row: RowRecord, to: str, *, waiting_for: str = "") -> None:
    """A fact about pausing, going on or ending; of two about pausing the one that was sent later counts."""
    if to in {"paused", "in_progress"}:
        if plan.told_at and sql.as_datetime(plan.told_at) > heard.occurred_at:
            world.refuse(row, "the sender has told a newer state already")
            return
        plan.told_at = sql.native(heard.occurred_at)
        world.mark(plan)
    if not say(world, plan, to, by=f"agent:{heard.source}", heard=heard, row=row):
        return
    world.note(
        plan, None, by=f"agent:{heard.source}", cause=heard, waiting_for=waiting_for if plan.state == "paused" else ""
    )


def arrived(world: World, plan: PlanRecord, heard: Heard) -> None:
    """A message has come: the pause is over if the plan waits for it.

    And it was not sent before the plan began to wait.
    """
    if plan.state != "paused" or plan.held or plan.waiting_for != heard.type:
        return
    if plan.told_at is None or sql.as_datetime(plan.told_at) <= heard.occurred_at:
        reason = "what it waited for has arrived"
        world.move(plan, None, "in_progress", by=f"agent:{heard.source}", cause=heard, reason=reason, waiting_for="")


def say(
    world: World,
    plan: PlanRecord,
    to: str,
    *,
    by: str,
    heard: Heard | None = None,
    row: RowRecord | None = None,
    error: str = "",
    reason: str = "",
) -> bool:
    """Somebody who knows says which state the plan is in; it goes before what the plan had concluded from its tasks.

    False when the table refuses; a message is marked so, anything else leaves a note.
    """
    more = _said(plan, to, error)
    if to == plan.state:
        world.note(plan, None, by=by, cause=heard, **more)
        return True
    path = _way(plan, to)
    if path is None:
        _refuse(world, plan, to, by, row)
        return False
    for step, why, told in path:
        world.move(plan, None, step, by=by, cause=heard, inferred=True, reason=why, **told)
    world.move(plan, None, to, by=by, cause=heard, reason=reason, **more)
    return True


def _said(plan: PlanRecord, to: str, error: str) -> dict[str, Any]:
    """What changes along with the state that is said."""
    more: dict[str, Any] = {"error": error} if error else {}
    if plan.waiting_for and to != "paused":
        more["waiting_for"] = ""
    if to in PLAN.ended:
        more["closed_by"] = "fact"
        if plan.held:
            more["held"] = False
    elif plan.closed_by:
        more["closed_by"] = ""
    return more


def _way(plan: PlanRecord, to: str) -> list[tuple[str, str, dict[str, Any]]] | None:
    """The inferred steps before the plan is where it is said to be, each with its reason; None: there is no way."""
    if to not in PLAN.states or (plan.held and to == "in_progress"):
        return None
    steps: list[tuple[str, str, dict[str, Any]]] = []
    state = plan.state
    if state in PLAN.ended:
        if plan.closed_by != "rule":
            return None
        if to == "in_progress":
            return []
        steps, state = [("in_progress", "somebody says otherwise", {"closed_by": ""})], "in_progress"
    path = PLAN.path(state, to)
    return path if path is None else [*steps, *((step, "proved by what followed", {}) for step in path[:-1])]


def _refuse(world: World, plan: PlanRecord, to: str, by: str, row: RowRecord | None) -> None:
    held = "an operator holds the plan" if plan.held else ""
    why = held or linking.storable(f"a {plan.state} plan cannot become {to:.40}")
    if row:
        world.refuse(row, why)
    elif refused := world.note(plan, None, by=by, reason=why):
        refused.refused = True
