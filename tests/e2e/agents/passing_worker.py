"""A worker that has its task done by another: `passing_worker.py NAME TYPE SUB_TYPE`."""

import os
import sys

from soorma import PlatformContext, TaskContext, Worker
from soorma.task_context import ResultContext

name, event_type, sub_type = sys.argv[1:4]
worker = Worker(name=name, description="Passes work on", auth_token=os.environ["SOORMA_TOKEN"])


@worker.on_task(event_type)
async def pass_on(task: TaskContext, context: PlatformContext) -> None:
    await task.delegate(
        event_type=sub_type,
        data={"label": task.data.get("label")},
        response_event=sub_type.replace(".requested", ".completed"),
    )
    print(f"passed on {task.data.get('label')}.", flush=True)


@worker.on_result(sub_type.replace(".requested", ".completed"))
async def hand_back(result: ResultContext, context: PlatformContext) -> None:
    task = await result.restore_task()
    task.update_sub_task_result(result.correlation_id, result.data)
    await task.complete({"label": task.data.get("label"), "through": name, "of": result.data["result"]})
    print(f"handed back {task.data.get('label')}.", flush=True)


worker.run()
