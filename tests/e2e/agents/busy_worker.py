"""A worker of the SDK that is at work until a file says that it may finish: NAME TYPE AGENT_ID FOLDER [HEARTBEAT]."""

import asyncio
import os
import sys
from pathlib import Path

from soorma import Worker

name, type, agent_id, folder = sys.argv[1:5]
worker = Worker(
    name=name,
    capabilities=[],
    events_consumed=[type],
    events_produced=[type.replace("requested", "completed")],
    agent_id=agent_id,
    auth_token=os.environ["SOORMA_TOKEN"],
)
worker.config.heartbeat_interval = float(sys.argv[5]) if len(sys.argv) > 5 else 30.0


@worker.on_task(type)
async def work(task, context):
    print("got", task.task_id, flush=True)
    while not (Path(folder) / f"{agent_id}.done").exists():  # noqa: ASYNC110  (what it waits for is a file)
        await asyncio.sleep(0.05)
    await task.complete({"by": agent_id})
    print("answered", task.task_id, flush=True)


worker.run()
