"""A worker: answers `parts.check.requested` after a second or a few.

Watch in the dashboard: the task turns `running` the moment it is handed to this process, although the SDK says nothing
at that point, and its bar grows until the answer comes; half way it tells its progress. A part that nobody knows fails
the task with the reason. Stop the worker and publish a goal: the request stays `pending` and is handed over when the
worker is back. Before it takes the last gearbox it asks a person: the task is `delegated` until somebody decides, or
two minutes have passed.
"""

from connection import PACE, say, token, work
from soorma import PlatformContext, TaskContext, Worker
from soorma.task_context import ResultContext

NAME = "parts-worker"
STOCK = {"brake pads": 8, "oil filter": 23, "wiper blades": 41, "battery": 2, "gearbox": 1}

worker = Worker(
    name=NAME,
    description="Knows what is on the shelf",
    events_produced=["parts.check.completed", "approval.requested"],
    auth_token=token(),
)


@worker.on_task("parts.check.requested")
async def check(task: TaskContext, context: PlatformContext) -> None:
    """Look the part up; complete the task with what is in stock, or fail it."""
    part = task.data.get("part")
    say(NAME, f"looks for {part}")
    await work(0.5, 1.5)
    await tell(task, context, 0.5, "half of the shelves")
    await work(0.5, 1.5)
    if STOCK.get(str(part)) == 1:
        await ask(task, str(part))
    elif part in STOCK:
        await task.complete({"part": part, "in_stock": STOCK[part]})
    else:
        await fail(task, context, f"there is no part {part!r}")


async def ask(task: TaskContext, part: str) -> None:
    """Nobody takes the last one without a person's word; who says nothing agrees."""
    question = {
        "title": f"Take the last {part}?",
        "description": f"There is **one {part}** on the shelf. A new one takes six weeks.",
        "action": "take from stock",
        "args": {"part": part, "vehicle": task.data.get("vehicle"), "count": 1},
        "risk": "high",
        "allow": ["approve", "reject"],
        "reject_needs_comment": True,
        "expires_in": max(1, 120 * PACE),
        "on_expiry": "approve",
        "blocks": task.task_id,
    }
    await task.delegate("approval.requested", question, response_event="approval.decided")


@worker.on_result("approval.decided")
async def decided(result: ResultContext, context: PlatformContext) -> None:
    """Go on as the person decided."""
    task = await result.restore_task()
    say(NAME, f"{result.data['decided_by']}: {result.data['decision']}")
    task.update_sub_task_result(result.correlation_id, result.data)
    part = str(task.data.get("part"))
    if result.success:
        await task.complete({"part": part, "in_stock": STOCK[part], "by": result.data["decided_by"]})
    else:
        await fail(task, context, f"the last {part} stays: {result.data['comment']}")


async def tell(task: TaskContext, context: PlatformContext, progress: float, message: str) -> None:
    """What `task.report_progress` is meant to do, and cannot in this release: a fact on the bus.

    A planner's request brings no task id, so the SDK makes one up. Saving the context tells the server whose it is.
    """
    await task.save()
    await context.bus.publish(
        topic="system-events",
        event_type="task.progress",
        data={"task_id": task.task_id, "progress": progress, "message": message},
        plan_id=task.plan_id,
    )


async def fail(task: TaskContext, context: PlatformContext, error: str) -> None:
    """A task context can only complete; a failure is the same answer with another status."""
    say(NAME, f"fails: {error}")
    await context.bus.respond(
        event_type=str(task.response_event),
        data={"task_id": task.task_id, "status": "failed", "error": error},
        correlation_id=str(task.correlation_id or task.task_id),  # a restored task has lost the first
        plan_id=task.plan_id,
    )
    # `complete` would do this for a task that was saved.
    await context.memory.delete_task_context(task.task_id, tenant_id=task.tenant_id, user_id=task.user_id)


if __name__ == "__main__":
    worker.run()
