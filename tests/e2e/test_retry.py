"""A task that starts anew: its request is handed over again, also to an agent that comes later, each time once."""

import contextlib
from uuid import uuid4

import pytest

from tests.e2e.plain import REQUESTS, Listener, Tenant
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, f"w-{uuid4().hex[:12]}")) as one:
        yield one


@pytest.fixture
def name():
    return f"worker-{uuid4().hex[:8]}"


@pytest.fixture
def plan_id():
    return f"plan-{uuid4().hex}"


def order(tenant, request, verb, **headers):
    task_id = request["data"]["task_id"]
    return tenant.http.post(f"/v1/tracker/tasks/{task_id}/{verb}", json={"reason": "once more"}, headers=headers)


def task_of(tenant, request):
    task = tenant.task(request["data"]["task_id"])
    return task["state"], task["attempt"], task["agent"]


def listening(tenant, name, type):
    agent_id = tenant.register(name, [type])
    return Listener(tenant, REQUESTS, name=name, agent_id=agent_id)


def failed(tenant, listener, name, type, plan_id):
    """A request that was handed over and failed."""
    request = tenant.ask(type, plan_id=plan_id)
    listener.heard(1)
    tenant.answer(request, source=name, status="failed", error="no brakes")
    assert task_of(tenant, request) == ("failed", 1, name)
    return request


def test_a_connected_agent_gets_it_again(tenant, name, plan_id):
    with listening(tenant, name, f"{name}.check") as listener:
        request = failed(tenant, listener, name, f"{name}.check", plan_id)
        assert order(tenant, request, "retry", **{"Idempotency-Key": "k"}).status_code == 201
        assert order(tenant, request, "retry", **{"Idempotency-Key": "k"}).status_code == 201
        listener.heard(2)
        wait_until(lambda: task_of(tenant, request) == ("running", 2, name))
        assert order(tenant, request, "retry").status_code == 409
        tenant.answer(request, source=name, result={"brakes": "new"})
        other = tenant.ask(f"{name}.check", plan_id=plan_id)
        listener.heard(3)
    assert listener.ids == [request["id"], request["id"], other["id"]]
    assert listener.messages[0] == listener.messages[1]
    assert task_of(tenant, request) == ("completed", 2, name)


def test_an_agent_that_is_away_gets_it_when_it_is_back_once(tenant, name, plan_id):
    type = f"{name}.check"
    with listening(tenant, name, type) as listener:
        request = failed(tenant, listener, name, type, plan_id)
    assert order(tenant, request, "retry").status_code == 201
    assert task_of(tenant, request) == ("pending", 2, None)
    for messages in ([request["id"]], []):
        with listening(tenant, name, type) as listener:
            marker = tenant.ask(type, plan_id=plan_id)
            listener.heard(len(messages) + 1)
            assert listener.ids == [*messages, marker["id"]]
    assert task_of(tenant, request) == ("running", 2, name)


def test_a_cancelled_task_is_not_handed_over(tenant, name, plan_id):
    type = f"{name}.check"
    tenant.register(name, [type])
    request = tenant.ask(type, plan_id=plan_id)
    assert order(tenant, request, "cancel").status_code == 201
    marker = tenant.ask(type, plan_id=plan_id)
    with listening(tenant, name, type) as listener:
        listener.heard(1)
    assert listener.ids == [marker["id"]]
    assert task_of(tenant, request)[:2] == ("cancelled", 1)
