"""A client: publishes one maintenance goal, waits for its answer, and asks the tracker what happened.

    python examples/client.py van-7 "brake pads"

Watch in the dashboard: the plan whose id this program prints. Ask for a part that is not in stock ("flux capacitor") to
see one fail.
"""

import asyncio
import sys
from uuid import uuid4

from connection import TENANT, URL, USER, say, token
from soorma import EventClient, EventEnvelope, EventTopic
from soorma.tracker.client import TrackerServiceClient

NAME = "fleet-client"
PATIENCE = 60  # seconds to wait for the answer


async def ask(vehicle: str, part: str) -> dict[str, object]:
    """Publish the goal and give the data of its answer; TimeoutError when none comes."""
    goal_id = str(uuid4())
    answer: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
    # Clients of one source share their messages: a name of its own keeps another client from taking this one's answer.
    client = EventClient(event_service_url=URL, source=f"{NAME}-{goal_id[:8]}", auth_token=token(), tenant_id=TENANT)

    @client.on_event("maintenance.completed")
    async def answered(event: EventEnvelope) -> None:
        if event.correlation_id == goal_id and not answer.done():
            answer.set_result(event.data or {})

    async with client:
        await client.connect([EventTopic.ACTION_RESULTS])
        await client.publish(
            event_type="maintenance.goal",
            topic=EventTopic.ACTION_REQUESTS,
            data={"vehicle": vehicle, "part": part},
            correlation_id=goal_id,
            response_event="maintenance.completed",
            response_topic="action-results",
            user_id=USER,
        )
        # The planner uses the goal's correlation id as the plan's id.
        say(NAME, f"asks for {part} for {vehicle}: {URL}/plans/{goal_id}")
        async with asyncio.timeout(PATIENCE):
            return await answer


async def report(plan_id: str) -> None:
    """Print what the tracker knows of the plan."""
    async with TrackerServiceClient(base_url=URL, auth_token=token()) as tracker:
        plan = await tracker.get_plan_progress(plan_id, TENANT, USER)
        if plan is None:
            return
        say(NAME, f"the plan is {plan.status}, {plan.completed_tasks} of {plan.task_count} tasks completed")
        for task in await tracker.get_plan_tasks(plan_id, TENANT, USER):
            say(NAME, f"  {task.event_type:<28} {task.state.value:<10} {task.duration_seconds or 0:.1f} s")


async def main(vehicle: str = "van-7", part: str = "brake pads") -> int:
    """Ask, report, and give the exit code: 0 when the service is booked."""
    try:
        answer = await ask(vehicle, part)
    except TimeoutError:
        say(NAME, f"no answer within {PATIENCE} s: are the planner and the workers running?")
        return 1
    say(NAME, f"hears {answer.get('error') or answer.get('result')}")
    await report(str(answer["plan_id"]))
    return 1 if answer.get("status") == "failed" else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
