"""An agent made of the SDK's parts, whose stream waits little before it connects again: `quick_client.py NAME`.

It answers `<NAME>.requested` with `<NAME>.completed`, as often as it takes until the server has it.
What it gets is printed.
"""

import asyncio
import os
import signal
import sys

from soorma import EventClient, EventTopic
from soorma.registry.client import RegistryClient
from soorma_common import AgentDefinition

name, url, token = sys.argv[1], os.environ["SOORMA_EVENT_SERVICE_URL"], os.environ["SOORMA_TOKEN"]
client = EventClient(
    event_service_url=url, source=name, auth_token=token, reconnect_base_delay=0.1, reconnect_max_delay=0.2
)


@client.on_event(f"{name}.requested")
async def work(event) -> None:
    print(f"got {event.data['task_id']}.", flush=True)
    while True:
        try:
            await client.publish(
                event_type=f"{name}.completed",
                topic=EventTopic.ACTION_RESULTS,
                data={"task_id": event.data["task_id"], "status": "completed"},
                correlation_id=event.correlation_id,
                tenant_id=event.tenant_id,
                user_id=event.user_id,
                plan_id=event.plan_id,
            )
            return
        except ConnectionError:
            await asyncio.sleep(0.05)


async def main() -> None:
    registry = RegistryClient(base_url=url, auth_token=token)
    agent = AgentDefinition(
        agent_id=client.agent_id, name=name, description="", capabilities=[], consumed_events=[f"{name}.requested"]
    )
    await registry.register_agent(agent)
    await client.connect([EventTopic.ACTION_REQUESTS])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await client.disconnect()


asyncio.run(main())
