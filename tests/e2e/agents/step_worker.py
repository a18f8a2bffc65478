"""A worker of declared plans: `step_worker.py NAME TYPE...`. What it does with a step stands in the step's data.

`fail_first` and `silent_first`: how many attempts fail, or are never answered. `give`: what it answers. The attempt is
the end of the request's correlation.
"""

import os
import sys

from soorma import PlatformContext, TaskContext, Worker

name, *types = sys.argv[1:]
worker = Worker(name=name, description="Takes steps", auth_token=os.environ["SOORMA_TOKEN"])


async def step(task: TaskContext, context: PlatformContext) -> None:
    attempt = int(str(task.correlation_id).rpartition(".")[2])
    print(f"took {task.event_type} {attempt}.", flush=True)
    if attempt <= task.data.get("silent_first", 0):
        return
    if attempt <= task.data.get("fail_first", 0):
        await context.bus.respond(
            event_type=str(task.response_event),
            data={"task_id": task.task_id, "status": "failed", "error": f"attempt {attempt} broke"},
            correlation_id=str(task.correlation_id),
            plan_id=task.plan_id,
        )
        return
    await task.complete(task.data.get("give", {}))


for event_type in types:
    worker.on_task(event_type)(step)
worker.run()
