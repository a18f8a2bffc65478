"""A worker that asks a person before it does its work: `asking_worker.py NAME TYPE`."""

import os
import sys

from soorma import PlatformContext, TaskContext, Worker
from soorma.task_context import ResultContext

name, event_type = sys.argv[1:3]
worker = Worker(name=name, description="Asks first", auth_token=os.environ["SOORMA_TOKEN"])


@worker.on_task(event_type)
async def ask(task: TaskContext, context: PlatformContext) -> None:
    question = {"title": "Do it?", "action": event_type, "args": {"label": task.data.get("label")}}
    await task.delegate("approval.requested", question, response_event="approval.decided")


@worker.on_result("approval.decided")
async def go_on(result: ResultContext, context: PlatformContext) -> None:
    task = await result.restore_task()
    task.update_sub_task_result(result.correlation_id, result.data)
    done = "done" if result.success else "left"
    await task.complete({"outcome": done, "decided_by": result.data["decided_by"], "comment": result.data["comment"]})


worker.run()
