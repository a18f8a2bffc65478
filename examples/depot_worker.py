"""The depot: finds a slot, a technician and a bay, the sub-tasks that `scheduling_worker.py` hands out.

Watch in the dashboard: start this program twice. Instances of one agent name share the work, and none is done twice; a
task shows which of them holds it.
"""

import random

from connection import say, token, work
from soorma import PlatformContext, TaskContext, Worker

NAME = "depot-worker"

worker = Worker(
    name=NAME,
    description="Knows the depot's calendar, people and bays",
    events_produced=["slot.find.completed", "technician.find.completed", "bay.find.completed"],
    auth_token=token(),
)


@worker.on_task("slot.find.requested")
async def find_slot(task: TaskContext, context: PlatformContext) -> None:
    """A free hour."""
    say(NAME, "looks for a slot")
    await work(1, 4)
    await task.complete({"slot": f"{random.randint(8, 16):02}:00"})


@worker.on_task("technician.find.requested")
async def find_technician(task: TaskContext, context: PlatformContext) -> None:
    """Somebody who can do it."""
    say(NAME, "looks for a technician")
    await work(1, 3)
    await task.complete({"technician": random.choice(["Ines", "Tomas", "Adaeze"])})


@worker.on_task("bay.find.requested")
async def find_bay(task: TaskContext, context: PlatformContext) -> None:
    """A place to do it in."""
    say(NAME, "looks for a bay")
    await work(0.5, 2)
    await task.complete({"bay": random.randint(1, 6)})


if __name__ == "__main__":
    worker.run()
