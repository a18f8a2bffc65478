"""A task is delegated exactly while a sub-task of its context is open."""

from tracker import linking
from tracker.sql import PlanRecord, TaskRecord
from tracker.world import SYSTEM, World


def settle_delegation(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    """A task is delegated exactly while a sub-task of its context is open."""
    if task.state not in {"pending", "running", "delegated"}:
        return
    busy = _has_open_sub_tasks(world, task)
    if busy and task.state != "delegated":
        if task.state == "pending":
            world.move(plan, task, "running", by=SYSTEM, inferred=True, reason="it delegates")
        world.move(
            plan,
            task,
            "delegated",
            by=f"agent:{task.agent}" if task.agent else SYSTEM,
            reason="it waits for its sub-tasks",
        )
    elif not busy and task.state == "delegated":
        world.move(plan, task, "running", by=SYSTEM, reason="its sub-tasks have ended")


def _has_open_sub_tasks(world: World, task: TaskRecord) -> bool:
    world.find_links("task_id = %s AND kind = 'subtask'", [task.id])
    subs = world.links_where(kind="subtask", task_id=task.id)
    scope = task.workspace_id, task.tenant_id
    world.load_tasks([scope], [sub.key for sub in subs])
    for sub in subs:
        sub_task = world.task(scope, sub.key)
        if linking.is_open(sub_task) if sub_task else not sub.done:
            return True
    return False
