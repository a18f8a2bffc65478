"""A task is delegated exactly while a sub-task of its context is open."""

from tracker.records import PlanRecord, TaskRecord
from tracker.world import SYSTEM, World


def settle_delegation(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    """A task is delegated exactly while a sub-task of its context is open."""
    if task.state not in {"pending", "running", "delegated"}:
        return
    busy = world.has_open_sub_tasks(task)
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
