"""A worker that can be held up: `gated_worker.py NAME TYPE,TYPE... FOLDER`.

A task waits as long as FOLDER holds a file `<label>.closed` or `<type>.closed`. Its label is `label` of its data, else
`part` or `vehicle`. What it gets and what it has done is printed.
"""

import asyncio
import os
import sys
from pathlib import Path

from soorma import PlatformContext, TaskContext, Worker

name, event_types, folder = sys.argv[1:4]
worker = Worker(name=name, description="Works when it may", auth_token=os.environ["SOORMA_TOKEN"])


async def work(task: TaskContext, context: PlatformContext) -> None:
    data = task.data
    label = data.get("label") or data.get("part") or data.get("vehicle")
    print(f"got {label}.", flush=True)
    gates = [Path(folder) / f"{gate}.closed" for gate in (label, task.event_type)]
    while any(gate.exists() for gate in gates):  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.02)
    await task.complete({task.event_type: worker.agent_id})
    print(f"done {label}.", flush=True)


for event_type in event_types.split(","):
    worker.on_task(event_type)(work)
worker.run()
