"""One agent of the real SDK, alone with the server: it works, it is ended, it dies."""

import pytest

from tests.services.waiting import wait_until

WORKER = """
import asyncio, os
from soorma import Worker

worker = Worker(
    name="parts-worker",
    capabilities=[],
    events_consumed=["parts.check.requested"],
    events_produced=["parts.check.completed"],
    auth_token=os.environ["SOORMA_TOKEN"],
)

@worker.on_task("parts.check.requested")
async def check(task, context):
    print("got", task.data["part"], flush=True)
    if task.data["part"] == "endless":
        await asyncio.Event().wait()
    await task.complete({"in_stock": 8})

worker.run()
"""


@pytest.fixture
def key(server, workspace):
    return server.api_key(workspace, tenant="acme", user="alice")


@pytest.fixture
def ask(server, key):
    """Ask for a part in a plan of its own; gives a function that reads its one task."""

    def ask(part):
        plan_id = f"plan-{part}"
        event = {
            "source": "test",
            "type": "parts.check.requested",
            "topic": "action-requests",
            "tenant_id": "acme",
            "user_id": "alice",
            "plan_id": plan_id,
            "response_event": "parts.check.completed",
            "response_topic": "action-results",
            "data": {"part": part},
        }
        with server.client(key) as client:
            assert client.post("/v1/events/publish", json={"event": event}).status_code == 200

        def task():
            with server.client(key) as client:
                plan = client.get(f"/v1/tracker/plans/{plan_id}").json()
            return plan["tasks"]["parts-check"]

        return task

    return ask


def test_a_worker_does_its_task_and_signs_off(server, key, ask, start_agent):
    worker = start_agent(server, WORKER, key)
    task = ask("brake-pads")
    wait_until(lambda: task()["state"] == "completed", what=lambda: f"{task()}\n{worker.output}")
    assert task()["agent"] == "parts-worker"
    worker.stop()
    with server.client(key) as client:
        assert client.get("/v1/agents?name=parts-worker").json()["agents"] == []


def test_the_task_of_a_killed_worker_stays_running(server, key, ask, start_agent):
    worker = start_agent(server, WORKER, key)
    task = ask("endless")
    worker.wait_for_output("got endless")
    assert task()["state"] == "running"
    worker.kill()
    successor = start_agent(server, WORKER, key)
    other = ask("brake-pads")
    wait_until(lambda: other()["state"] == "completed", what=lambda: f"{other()}\n{successor.output}")
    assert "got endless" not in successor.output
    assert task()["state"] == "running"
