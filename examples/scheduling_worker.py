"""A worker that delegates: answers `schedule.service.requested` with what three sub-tasks found in parallel.

Watch in the dashboard: the task turns `delegated` while its three sub-tasks, shown below it, run side by side; when the
last one is done it goes on and completes. The answer that it then sends carries another correlation than its request
did (the SDK forgets it on the way); the server knows both and the plan goes on.

Start one instance only: two of them would save the same task context over each other.
"""

from connection import say, token
from soorma import PlatformContext, TaskContext, Worker
from soorma.task_context import DelegationSpec, ResultContext

NAME = "scheduling-worker"
PARTS = ("slot", "technician", "bay")

worker = Worker(
    name=NAME,
    description="Books a service: a slot, a technician and a bay",
    events_produced=["schedule.service.completed", *(f"{part}.find.requested" for part in PARTS)],
    auth_token=token(),
)


@worker.on_task("schedule.service.requested")
async def schedule(task: TaskContext, context: PlatformContext) -> None:
    """Ask for all three at once; this handler ends here and `gather` takes over."""
    vehicle = task.data.get("vehicle")
    say(NAME, f"asks for {', '.join(PARTS)} for {vehicle}")
    task.state["group"] = await task.delegate_parallel(
        [
            DelegationSpec(
                event_type=f"{part}.find.requested",
                response_event=f"{part}.find.completed",
                data={"vehicle": vehicle},
            )
            for part in PARTS
        ]
    )
    await task.save()


@worker.on_result("slot.find.completed")
@worker.on_result("technician.find.completed")
@worker.on_result("bay.find.completed")
async def gather(result: ResultContext, context: PlatformContext) -> None:
    """Note one answer; with the last one the task is complete."""
    task = await result.restore_task()
    task.update_sub_task_result(result.correlation_id, result.data)
    await task.save()
    answers = task.aggregate_parallel_results(task.state["group"])
    if answers:
        found = {name: value for answer in answers.values() for name, value in answer["result"].items()}
        say(NAME, f"books {found}")
        await task.complete(found)


if __name__ == "__main__":
    worker.run()
