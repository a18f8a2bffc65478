"""Workers of the real SDK as processes: they share work, die, are away, and outlive the server."""

import contextlib
from uuid import uuid4

import pytest
from soorma import EventClient, EventTopic

from tests.e2e.company import Company
from tests.e2e.plain import Tenant
from tests.services.waiting import wait_until, wait_until_async

RESTARTS = 2


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "workers")) as one:
        yield one


@pytest.fixture
def company(server, tenant, tmp_path):
    company = Company(server, tenant.key, tmp_path)
    yield company
    company.dismiss()


@pytest.fixture
def name():
    """An agent name, and with it a type, that no other test uses."""
    return f"worker-{uuid4().hex[:8]}"


def ask(tenant, name, *labels):
    """Ask for tasks of the plan that is called like the agent; gives their ids."""
    return [tenant.ask(f"{name}.requested", {"label": label}, plan_id=name)["data"]["task_id"] for label in labels]


def got(agent):
    """Labels of the tasks that an agent has got, in order."""
    return [line.split()[1].rstrip(".") for line in agent.output.splitlines() if line.startswith("got ")]


def completed(tenant, plan_id, count, seconds=30):
    wait_until(lambda: tenant.plan(plan_id)["completed_tasks"] == count, seconds, lambda: tenant.plan(plan_id))


def test_a_killed_worker_keeps_its_task_and_nobody_else_gets_it(tenant, company, name):
    worker = company.gated(name, f"{name}.requested")
    company.hire(one=worker)
    company.close_gate("stuck")
    [stuck] = ask(tenant, name, "stuck")
    company["one"].wait_for_output("got stuck.")
    assert tenant.task(stuck)["state"] == "running"
    company.hire(two=worker)
    company["one"].kill()
    company.open_gate("stuck")
    ask(tenant, name, "a", "b")
    completed(tenant, name, 2)
    company.hire(three=worker)
    ask(tenant, name, "c", "d", "e", "f")
    completed(tenant, name, 6)
    task = tenant.task(stuck)
    assert (task["state"], task["attempt"]) == ("running", 1)
    assert tenant.handed(name).count(stuck) == 1
    assert sorted(got(company["two"]) + got(company["three"])) == ["a", "b", "c", "d", "e", "f"]
    plan = tenant.plan(name)
    assert (plan["state"], plan["task_count"], plan["completed_tasks"]) == ("in_progress", 7, 6)


def test_two_instances_share_the_work_and_none_is_done_twice(tenant, company, name):
    worker = company.gated(name, f"{name}.requested")
    company.hire(one=worker, two=worker)
    labels = [f"task-{n}" for n in range(60)]
    asked = ask(tenant, name, *labels)
    completed(tenant, name, 60)
    one, two = got(company["one"]), got(company["two"])
    assert sorted(one + two) == sorted(labels)
    assert min(len(one), len(two)) >= 20
    assert sorted(tenant.handed(name)) == sorted(asked)
    assert len([row for row in tenant.log(name) if row["type"] == f"{name}.completed"]) == 60


def test_a_worker_that_is_away_gets_what_was_asked_meanwhile_once_and_in_order(tenant, company, name):
    ask(tenant, name, "before-it-was-known-1", "before-it-was-known-2")
    company.hire(worker=company.gated(name, f"{name}.requested"))
    worker = company["worker"]
    completed(tenant, name, 2)
    worker.kill()
    ask(tenant, name, "killed-1", "killed-2")
    worker.start()
    completed(tenant, name, 4)
    worker.stop()
    ask(tenant, name, "signed-off-1", "signed-off-2")
    worker.start()
    completed(tenant, name, 6)
    assert got(worker) == [f"{when}-{n}" for when in ("before-it-was-known", "killed", "signed-off") for n in (1, 2)]
    assert tenant.plan(name)["state"] == "completed"
    assert len(tenant.handed(name)) == 6


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_an_agent_goes_on_through_restarts_of_the_server_and_its_crash(start_server, kind, tmp_path):
    """A clean end resets the SDK's back-off: it is back as quickly each time. After a crash it comes back as well."""
    server = start_server(server=kind)
    with contextlib.closing(Tenant(server, "w")) as tenant:
        company = Company(server, tenant.key, tmp_path)
        try:
            company.hire(worker=company.gated("worker", "worker.requested"))
            output = company["worker"].process
            for restart in range(RESTARTS):
                ask(tenant, "worker", f"before-{restart}")
                completed(tenant, "worker", 2 * restart + 1)
                server.stop()
                server.start()
                ask(tenant, "worker", f"after-{restart}")
                completed(tenant, "worker", 2 * restart + 2)
            assert output.output.count("Received disconnect from Event Service") == RESTARTS
            server.kill()
            server.start()
            ask(tenant, "worker", "last")
            completed(tenant, "worker", 2 * RESTARTS + 1)
            wanted = [f"{when}-{n}" for n in range(RESTARTS) for when in ("before", "after")] + ["last"]
            assert got(company["worker"]) == wanted
            assert tenant.plan("worker")["state"] == "completed"
        finally:
            company.dismiss()


async def test_clients_of_different_names_each_get_the_answer(server, tenant, company, name):
    """The example's way: a client asks, a worker answers, and another client listens to the same topic."""
    heard = {"one": [], "two": []}
    clients = [
        EventClient(event_service_url=server.base_url, source=f"{name}-{each}", auth_token=tenant.key, tenant_id="acme")
        for each in heard
    ]
    for client, each in zip(clients, heard, strict=True):

        @client.on_event(f"{name}.completed")
        async def answered(event, each=each):
            heard[each].append(event.correlation_id)

    async with clients[0], clients[1]:
        for client in clients:
            await client.connect([EventTopic.ACTION_RESULTS])
        company.hire(worker=company.gated(name, f"{name}.requested"))
        for n in range(10):
            await clients[n % 2].publish(
                event_type=f"{name}.requested", topic=EventTopic.ACTION_REQUESTS, data={"label": f"task-{n}"},
                correlation_id=f"{name}-{n}", response_event=f"{name}.completed", user_id="alice", plan_id=name,
            )  # fmt: skip

        async def all_heard():
            return [len(each) for each in heard.values()] == [10, 10]

        await wait_until_async(all_heard, 30, lambda: f"{heard}")
    assert heard["one"] == heard["two"] == [f"{name}-{n}" for n in range(10)]
