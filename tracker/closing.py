"""What follows at the end of a batch: plans close with their tasks, and tasks with the plans that carry them out."""

from tracker import linking
from tracker.records import PlanRecord, TaskRecord
from tracker.rules import after_task
from tracker.states import PLAN, TASK
from tracker.world import SYSTEM, World


def settle(world: World) -> None:
    """Plans that nobody governs close with their tasks.

    Tasks that another plan carries out end with it; and so on upwards.
    """
    waiting = [plan for plan in world.plans.values() if plan.state]
    while waiting:
        plan = waiting.pop()
        if not plan.governed and not (plan.state in PLAN.ended and plan.closed_by != "rule"):
            _close(world, plan)
        task = world.task_by_key(plan.goal_task_id) if plan.state in PLAN.ended else None
        if task and linking.is_open(task):
            parent = world.plans[task.plan_id]
            _end_with_plan(world, parent, task, plan)
            waiting.append(parent)


def _end_with_plan(world: World, parent: PlanRecord, task: TaskRecord, plan: PlanRecord) -> None:
    *steps, end = TASK.path(task.state, plan.state) or [plan.state]
    for step in steps:
        world.move(parent, task, step, by=SYSTEM, inferred=True, reason="proved by what followed")
    world.move(parent, task, end, by=SYSTEM, reason=f"plan {plan.plan_id} carried it out", error=plan.error)
    after_task(world, parent, task)


def _close(world: World, plan: PlanRecord) -> None:
    enough = plan.task_count > 0 and plan.task_count >= (plan.total_actions or 0)
    verdict = _conclusion(world, plan) if enough and plan.open_tasks == 0 else ""
    if plan.state in PLAN.ended and plan.state != verdict:
        world.move(
            plan,
            None,
            "in_progress",
            by=SYSTEM,
            reason="it has open tasks again" if not verdict else "its tasks say otherwise",
            closed_by="",
        )
    if verdict and plan.state == "in_progress":
        reason = "all its tasks have ended"
        world.move(plan, None, verdict, by=SYSTEM, reason=reason, closed_by="rule", error="")


def _conclusion(world: World, plan: PlanRecord) -> str:
    if plan.cancelled_tasks == plan.task_count:
        return "cancelled"
    if plan.failed_tasks:
        where = "plan_id = %s AND state = 'failed'"
        # Mostly one task that is nobody's sub-task settles it; then the others need not be read.
        top = world.find_tasks(f"{where} AND parent_id IS NULL", [plan.id], tail="LIMIT 1")
        if any(task.state == "failed" and task.parent_id is None for task in top):
            return "failed"
        world.find_tasks(where, [plan.id])
        failed = [t for t in world.tasks.values() if t.plan_id == plan.id and t.state == "failed"]
        if not all(_excused(world, task) for task in failed):
            return "failed"
    return "completed"


def _excused(world: World, task: TaskRecord) -> bool:
    """A failed sub-task does not count when the task above it completed all the same."""
    parent = world.task_by_key(task.parent_id)
    while parent:
        if parent.state == "completed":
            return True
        parent = world.task_by_key(parent.parent_id)
    return False
