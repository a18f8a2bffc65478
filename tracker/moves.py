"""Moves that the bus and the people make: requests handed over, plans paused, resumed, cancelled.

Refusals leave no row.
"""

from typing import Any

from tracker import sql
from tracker.changes import Handover, Outcome, PlanMove
from tracker.envelope import TRACKER
from tracker.known import scope_of
from tracker.models import Plan
from tracker.records import PlanRecord, RowRecord, TaskRecord
from tracker.rules import start_task
from tracker.states import PLAN, TASK
from tracker.world import NOT_STALLED, World


def handover(world: World, change: Handover) -> Outcome:
    """Requests are given to an agent.

    Their tasks run, held by it, before it gets them. `value`: the row ids to be sent.

    A row behind the group's cursor was given to it before, perhaps by another server process, unless nobody has it yet.
    """
    where = f"id IN ({sql.marks(change.row_ids)})"
    # The plans first, then the rows: whoever hands them over at the same time waits here, and then sees what we did.
    world.load_plan_keys({row.plan_id for row in sql.select(RowRecord, where, change.row_ids)})
    rows = world.kept_rows(where, change.row_ids, lock=True)
    missing = sorted({row.task_id for row in rows if row.task_id and row.task_id not in world.tasks})
    if missing:
        world.find_tasks(f"id IN ({sql.marks(missing)})", missing)
    sent = [row.id for row in rows if _hand(world, row, change)]
    sql.execute(
        "UPDATE tracker_queuegroup SET requests_cursor = %s WHERE id = %s AND requests_cursor < %s",
        [change.cursor, change.group_id, change.cursor],
    )
    return Outcome("recorded", value=sent)


def _hand(world: World, row: RowRecord, change: Handover) -> bool:
    task = world.task_by_key(row.task_id)
    given = row.handed_to and row.id <= world.cursors.get(change.group_id, 0)
    if given and change.unsure and row.handed_id == change.agent_id:
        return not (task and task.state in TASK.ended)  # it was recorded
    if (given and not change.again) or (task and (task.state in TASK.ended or _held(world, task))):
        return False
    if task and row.source == TRACKER and row.event_id != task.request_event_id:
        return False  # another attempt of it is asked for meanwhile
    if not row.handed_to:
        row.handed_to, row.handed_id, row.handed_at = change.name, change.agent_id, world.at
        world.touch_row(row)
    if task:
        plan = world.plans[task.plan_id]
        if task.state == "pending":
            start_task(world, plan, task, change.name, change.agent_id)
        elif change.again and task.agent == change.name:
            world.note(
                plan,
                task,
                by=f"agent:{change.name}",
                reason="its first connection ended before it was sent",
                agent_id=change.agent_id,
                **NOT_STALLED,
            )
        else:
            world.note(
                plan, task, by=f"agent:{change.name}", reason=f"also handed to {change.name}", type="task.handed_over"
            )
    return True


def _held(world: World, task: TaskRecord) -> bool:
    """An operator's pause holds back what no agent has yet."""
    return task.state == "pending" and world.plans[task.plan_id].held


def plan_move(world: World, change: PlanMove) -> Outcome:
    """An operator pauses, resumes or cancels a plan. Refusals leave no row."""
    plan = world.plan(scope_of(change), change.plan_id)
    if plan is None:
        return Outcome("unknown", plan_id=change.plan_id)
    agents_own_pause = _own_pause(plan, change.to)
    if not may_move(plan, change.to):
        now = {"state": plan.state, "version": plan.version, "allowed_transitions": plan_targets(plan)}
        return Outcome("refused", plan_id=plan.plan_id, detail="invalid-transition", value=now)
    seq = plan.seq + 1
    if agents_own_pause:
        world.note(plan, None, by=change.by, reason=change.reason or "held by an operator", held=True)
    else:
        more: dict[str, Any] = {"held": change.to == "paused", "waiting_for": ""}
        if change.to in PLAN.ended:
            more["closed_by"] = "fact"
        world.move(plan, None, change.to, by=change.by, reason=change.reason, **more)
    if change.to == "cancelled":
        _cancel_tasks(world, plan, change)
    elif change.to == "in_progress":
        world.ask_held(plan)
    return Outcome("recorded", plan_id=plan.plan_id, seq=seq, value={"state": plan.state, "version": plan.version})


def may_move(plan: PlanRecord | Plan, to: str) -> bool:
    """Whether an operator may move a plan there now; a pause of the agent's own may be made theirs."""
    return plan.state not in PLAN.ended and bool(_own_pause(plan, to) or PLAN.move(plan.state, to))


def _own_pause(plan: PlanRecord | Plan, to: str) -> bool:
    return to == plan.state == "paused" and not plan.held


def plan_targets(plan: PlanRecord) -> list[str]:
    """Where an operator may move a plan."""
    return (
        [] if plan.state in PLAN.ended else [to for to in PLAN.targets(plan.state) if to not in {"completed", "failed"}]
    )


def _cancel_tasks(world: World, plan: PlanRecord, change: PlanMove) -> None:
    """Whatever is open in the plan ends with it."""
    ends = sorted(TASK.ended)
    world.find_tasks(f"plan_id = %s AND state NOT IN ({sql.marks(ends)})", [plan.id, *ends], tail="ORDER BY position")
    still_open = [t for t in world.tasks.values() if t.plan_id == plan.id and t.state in TASK.open_states]
    for task in sorted(still_open, key=lambda t: t.position):
        world.move(plan, task, "cancelled", by=change.by, reason=change.reason or "its plan was cancelled")
