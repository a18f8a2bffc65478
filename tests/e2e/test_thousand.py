"""A thousand requests and their results without a pause, and the same in any order, up to three times each."""

import contextlib
import random
from uuid import uuid4

import pytest

from tests.e2e.plain import REQUESTS, RESULTS, Tenant

SIZES = {"big": 700, "small": 200, "tiny": 100}  # plans and their tasks


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "thousand")) as one:
        yield one


@pytest.fixture
def run():
    """What the ids of this test begin with."""
    return f"run-{uuid4().hex[:8]}"


def pairs(tenant, run):
    """A thousand requests with their results as agents of the SDK send them, their plans taking turns."""
    found = []
    for plan, size in SIZES.items():
        for n in range(size):
            task_id, kind = f"{run}-{plan}-{n}", ("parts", "tyres", "brakes")[n % 3]
            common = {"plan_id": f"{run}-{plan}", "correlation_id": task_id}
            asked, said = {"task_id": task_id, "n": n}, {"task_id": task_id, "status": "completed", "result": {"n": n}}
            more = common | {"response_event": f"{kind}.check.completed"}
            request = tenant.envelope(REQUESTS, f"{kind}.check.requested", asked, **more)
            result = tenant.envelope(RESULTS, f"{kind}.check.completed", said, source=f"{kind}-worker", **common)
            found.append((n / size, request, result))
    return [pair for _, *pair in sorted(found, key=lambda one: one[0])]


def all_completed(tenant, run):
    """Each plan is completed with all its tasks, and its log holds each message once, without a gap."""
    for plan, size in SIZES.items():
        plan_id = f"{run}-{plan}"
        found = tenant.plan(plan_id)
        assert (found["state"], found["task_count"], found["completed_tasks"]) == ("completed", size, size)
        tasks = tenant.tasks(plan_id)
        assert {task["task_id"]: task["state"] for task in tasks} == {
            f"{plan_id}-{n}": "completed" for n in range(size)
        }
        assert len({task["name"] for task in tasks}) == size
        rows = tenant.log(plan_id)
        assert [row["seq"] for row in rows] == list(range(1, found["seq"] + 1))
        messages = [row["event_id"] for row in rows if row["kind"] == "message"]
        assert (len(messages), len(set(messages))) == (2 * size, 2 * size)
        assert not any(row["refused"] for row in rows)


def test_back_to_back(tenant, run):
    tenant.send_all([event for pair in pairs(tenant, run) for event in pair])
    all_completed(tenant, run)


def test_in_random_order_up_to_three_times_each(tenant, run):
    chance = random.Random(7)
    events = [event for pair in pairs(tenant, run) for event in pair for _ in range(chance.randint(1, 3))]
    chance.shuffle(events)
    tenant.send_all(events)
    all_completed(tenant, run)
