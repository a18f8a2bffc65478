"""Moves that the bus and the people make: requests handed over, plans paused, resumed, cancelled. Refusals leave no row."""

from typing import Any

from tracker import sql
from tracker.changes import Handover, Outcome, PlanMove
from tracker.known import scope_of
from tracker.rules import start_task
from tracker.sql import RowRecord
from tracker.states import PLAN, TASK
from tracker.world import World


def handover(world: World, change: Handover) -> Outcome:
    """Requests are given to an agent: their tasks run, held by it, before it gets them. `value`: the row ids to be sent.

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
    if (given and not change.again) or (task and task.state in TASK.ended):
        return False
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
            )
        else:
            world.note(
                plan, task, by=f"agent:{change.name}", reason=f"also handed to {change.name}", type="task.handed_over"
            )
    return True


def plan_move(world: World, change: PlanMove) -> Outcome:
    """Somebody moves a plan by one legal hop. Refusals leave no row."""
    plan = world.plan(scope_of(change), change.plan_id)
    if plan is None:
        return Outcome("unknown", plan_id=change.plan_id)
    if plan.state in PLAN.ended or not PLAN.move(plan.state, change.to):
        return Outcome(
            "refused",
            plan_id=plan.plan_id,
            detail="invalid-transition",
            value={"state": plan.state, "version": plan.version},
        )
    more: dict[str, Any] = {"closed_by": "fact"} if change.to in PLAN.ended else {}
    if plan.waiting_for:
        more["waiting_for"] = ""
    row = world.move(plan, None, change.to, by=change.by, reason=change.reason, **more)
    return Outcome(
        "recorded", plan_id=plan.plan_id, seq=row.seq, value={"version": plan.version, "from_state": row.from_state}
    )
