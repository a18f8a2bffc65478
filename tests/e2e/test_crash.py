"""The server is killed under load, again and again: what was acknowledged is there, once, and work goes on."""

import contextlib
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.company import AGENTS
from tests.e2e.plain import REQUESTS, Tenant
from tests.services.agents import AgentProcess
from tests.services.waiting import INTERVAL, wait_until

PUBLISHERS = 4
BETWEEN = 40  # events that are acknowledged between two crashes


class Publisher:
    """Publishes requests of a plan of its own, each again and again until it is acknowledged."""

    def __init__(self, tenant, plan_id, stop):
        self.tenant, self.plan_id, self.stop = tenant, plan_id, stop
        self.acknowledged = []

    def run(self):
        with self.tenant.server.client(self.tenant.key) as client:
            while not self.stop.is_set():
                self.publish(client)

    def publish(self, client):
        task_id = f"{self.plan_id}-{len(self.acknowledged)}"
        event = self.tenant.envelope(
            REQUESTS, "worker.requested", {"task_id": task_id}, plan_id=self.plan_id, correlation_id=task_id,
            response_event="worker.completed",
        )  # fmt: skip
        while not accepted(client, event):
            time.sleep(INTERVAL)
        self.acknowledged.append(event["id"])


def accepted(client, event):
    """Whether the server has acknowledged the event."""
    try:
        return client.post("/v1/events/publish", json={"event": event}).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.timeout(600)  # a start takes seconds on a busy machine
@pytest.mark.parametrize(("kind", "crashes"), [("daphne", 15), ("uvicorn", 3)])
def test_what_was_acknowledged_is_there_once_after_each_crash(start_server, kind, crashes):
    server, stop = start_server(server=kind), threading.Event()
    with (
        contextlib.closing(Tenant(server, "w")) as tenant,
        AgentProcess(server, AGENTS / "quick_client.py", tenant.key, "worker") as worker,
        ThreadPoolExecutor(PUBLISHERS) as pool,
    ):
        publishers = [Publisher(tenant, f"load-{n}", stop) for n in range(PUBLISHERS)]
        last = Publisher(tenant, "last-words", stop)
        running = [pool.submit(one.run) for one in publishers]
        try:
            for _ in range(crashes):
                target = total(publishers) + BETWEEN
                wait_until(lambda: total(publishers) >= target, 60, lambda: server.log)  # noqa: B023
                last.publish(tenant.http)
                server.kill()
                server.start()
        finally:
            stop.set()
        for one in running:
            one.result()
        # The worker goes on, and takes one after the other: with the last one done, all are that it ever got.
        last.publish(tenant.http)
        end = f"last-words-{crashes}"
        wait_until(lambda: tenant.task(end)["state"] == "completed", 30, lambda: worker.output[-1000:])
        got = Counter(line.split()[1].rstrip(".") for line in worker.output.splitlines() if line.startswith("got "))
        assert [task for task, times in got.items() if times > 1] == []
        for one in (*publishers, last):
            verify(tenant, one, got)


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_server_that_is_ended_under_load_loses_no_hand_over(start_server, kind):
    """Unlike a crash, an orderly end sends what it has handed over: every task is completed."""
    server, stop = start_server(server=kind), threading.Event()
    with (
        contextlib.closing(Tenant(server, "w")) as tenant,
        AgentProcess(server, AGENTS / "quick_client.py", tenant.key, "worker") as worker,
        ThreadPoolExecutor(PUBLISHERS) as pool,
    ):
        publishers = [Publisher(tenant, f"load-{n}", stop) for n in range(PUBLISHERS)]
        running = [pool.submit(one.run) for one in publishers]
        try:
            for _ in range(2):
                target = total(publishers) + BETWEEN
                wait_until(lambda: total(publishers) >= target, 60, lambda: server.log)  # noqa: B023
                server.restart()
        finally:
            stop.set()
        for one in running:
            one.result()
        for one in publishers:
            wait_until(lambda: tenant.plan(one.plan_id)["state"] == "completed", 30, lambda: worker.output[-1000:])  # noqa: B023
            assert tenant.plan(one.plan_id)["completed_tasks"] == len(one.acknowledged)
            assert len(tenant.handed(one.plan_id)) == len(one.acknowledged)


def total(publishers):
    return sum(len(one.acknowledged) for one in publishers)


def verify(tenant, publisher, got):
    """Its plan holds each of its events once, its log has no gap, and its tasks are completed if the worker got them.

    What a crash caught between its hand-over and its agent is held by that agent, and nobody else gets it.
    """
    rows = tenant.log(publisher.plan_id)
    assert [row["seq"] for row in rows] == list(range(1, tenant.plan(publisher.plan_id)["seq"] + 1))
    requests = [row["event_id"] for row in rows if row["kind"] == "message" and row["topic"] == REQUESTS]
    assert requests == publisher.acknowledged
    states = tenant.states(publisher.plan_id)
    assert states == {task: "completed" if task in got else "running" for task in states}
    assert len(states) == len(requests)
    assert sum(state == "running" for state in states.values()) < len(states) / 2
