"""Agents that are away: what waits for whom, how long, and that nothing is handed over twice."""

import contextlib
import time
from uuid import uuid4

import pytest

from tests.e2e.plain import FACTS, REQUESTS, RESULTS, Listener, PlainWorker, Tenant
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

CHECK = "parts.check.requested"


@pytest.fixture(scope="module")
def site():
    """A server with little room for a stream, so that much of what waits has to wait for room as well."""
    with ServerProcess(SOORMA_STREAM_BUFFER="50") as process:
        yield process


@pytest.fixture(scope="module")
def tenant(site):
    with contextlib.closing(Tenant(site, "shared")) as one:
        yield one


@pytest.fixture
def plan_id():
    return f"plan-{uuid4().hex}"


@pytest.fixture
def name():
    """An agent name, and with it a type, that no other test uses."""
    return f"worker-{uuid4().hex[:8]}"


def type_of(name):
    return f"{name}.requested"


def ask(tenant, name, plan_id, count=3):
    """Ask for tasks, one after the other; gives their ids."""
    return [tenant.ask(type_of(name), plan_id=plan_id)["data"]["task_id"] for _ in range(count)]


def all_completed(tenant, plan_id, task_ids):
    """Wait until these tasks, which are all of the plan, are completed, each handed over just once."""
    wait_until(lambda: tenant.plan(plan_id)["completed_tasks"] == len(task_ids), 30, lambda: tenant.states(plan_id))
    assert tenant.plan(plan_id)["state"] == "completed"
    assert sorted(tenant.handed(plan_id)) == sorted(task_ids)


def test_a_name_that_registered_and_never_connected(tenant, name, plan_id):
    tenant.register(name, [type_of(name)])
    asked = ask(tenant, name, plan_id)
    assert set(tenant.states(plan_id).values()) == {"pending"}
    with PlainWorker(tenant, type_of(name), name=name) as worker:
        all_completed(tenant, plan_id, asked)
    assert worker.done == asked


def test_a_name_that_nobody_knew(tenant, name, plan_id):
    asked = ask(tenant, name, plan_id)
    with PlainWorker(tenant, type_of(name), name=name) as worker:
        all_completed(tenant, plan_id, asked)
    assert worker.done == asked


def test_a_worker_that_lost_its_connection(tenant, name, plan_id):
    with PlainWorker(tenant, type_of(name), name=name) as first:
        asked = ask(tenant, name, plan_id)
        wait_until(lambda: first.done == asked)
    asked += ask(tenant, name, plan_id)
    with PlainWorker(tenant, type_of(name), name=name) as second:
        all_completed(tenant, plan_id, asked)
    assert (first.done, second.done) == (asked[:3], asked[3:])


def test_a_worker_that_signed_off(tenant, name, plan_id):
    with PlainWorker(tenant, type_of(name), name=name) as first:
        tenant.sign_off(first.agent_id)
    asked = ask(tenant, name, plan_id)
    with PlainWorker(tenant, type_of(name), name=name) as second:
        all_completed(tenant, plan_id, asked)
    assert (first.done, second.done) == ([], asked)


def test_a_server_that_was_ended_and_one_that_was_killed_meanwhile(start_server, name, plan_id):
    server = start_server()
    with contextlib.closing(Tenant(server, "w")) as tenant:
        tenant.register("boss")
        with PlainWorker(tenant, type_of(name), name=name) as first, Listener(tenant, RESULTS, name="boss") as boss:
            asked = ask(tenant, name, plan_id)
            boss.heard(3)
        asked += ask(tenant, name, plan_id)
        server.restart()
        asked += ask(tenant, name, plan_id)
        server.kill()
        server.start()
        asked += ask(tenant, name, plan_id)
        with PlainWorker(tenant, type_of(name), name=name) as second:
            all_completed(tenant, plan_id, asked)
        with Listener(tenant, RESULTS, name="boss") as boss_again:
            boss_again.heard(9)
            last = tenant.publish(RESULTS, "last.completed")
            wait_until(lambda: last["id"] in boss_again.ids)
        assert (first.done, second.done) == (asked[:3], asked[3:])
        heard = [one["data"].get("task_id") for one in boss.messages + boss_again.messages]
        assert heard == [*asked, None]


def test_results_wait_for_a_planner_that_is_away(tenant, name, plan_id):
    tenant.register(name)
    with Listener(tenant, REQUESTS, RESULTS, name=name):
        pass
    asked = [tenant.ask(type_of(name), plan_id=plan_id) for _ in range(3)]
    results = [tenant.answer(one)["id"] for one in asked]
    with Listener(tenant, REQUESTS, RESULTS, name=name) as back:
        late = tenant.publish(RESULTS, "late.completed", plan_id=plan_id)["id"]
        wait_until(lambda: late in back.ids)
        assert back.ids == [*results, late]  # of requests, only what it consumes waits: nothing
    with Listener(tenant, REQUESTS, RESULTS, name=name) as again:
        later = tenant.publish(RESULTS, "later.completed", plan_id=plan_id)["id"]
        wait_until(lambda: later in again.ids)
        assert again.ids == [later]


def test_nothing_else_waits(tenant, name):
    tenant.register(name)
    with Listener(tenant, ">", name=name):
        pass
    missed = [tenant.publish(topic, "thing.seen")["id"] for topic in (FACTS, "business-facts")]
    result = tenant.publish(RESULTS, "thing.completed")["id"]
    with Listener(tenant, ">", name=name) as back:
        seen = tenant.publish(FACTS, "thing.seen")["id"]
        wait_until(lambda: seen in back.ids)
        assert back.ids == [result, seen]
        assert not set(missed) & set(back.ids)


def test_what_a_name_does_not_listen_to_does_not_wait(tenant, name):
    tenant.register(name)
    with Listener(tenant, FACTS, name=name):
        pass
    tenant.publish(RESULTS, "thing.completed")
    with Listener(tenant, FACTS, RESULTS, name=name) as back:
        heard = tenant.publish(RESULTS, "thing.completed")["id"]
        wait_until(lambda: heard in back.ids)
        assert back.ids == [heard]


def test_requests_whose_task_ended_meanwhile_are_not_handed_over(tenant, name, plan_id):
    with PlainWorker(tenant, type_of(name), name=name):
        pass
    requests = [tenant.ask(type_of(name), plan_id=plan_id) for _ in range(3)]
    tenant.answer(requests[0], source="somebody-else")
    tenant.answer(requests[2], source="somebody-else", status="failed", error="no")
    with PlainWorker(tenant, type_of(name), name=name) as worker:
        wait_until(lambda: tenant.plan(plan_id)["state"] == "failed")
        assert worker.done == [requests[1]["data"]["task_id"]]
    assert tenant.handed(plan_id) == worker.done


def test_who_registers_after_connecting_gets_what_it_consumes(tenant, name, plan_id):
    asked = ask(tenant, name, plan_id)
    with Listener(tenant, REQUESTS, name=name) as agent:
        tenant.publish(REQUESTS, "something.else.requested")
        agent.heard(1)
        tenant.register(name, [type_of(name)], agent.agent_id)
        agent.heard(4)
        asked += ask(tenant, name, plan_id, 1)
        agent.heard(5)
        wait_until(lambda: set(tenant.states(plan_id).values()) == {"running"})
        assert [one["data"]["task_id"] for one in agent.messages[1:]] == asked
    assert tenant.handed(plan_id) == asked
    assert {(task["agent"], task["agent_id"]) for task in tenant.tasks(plan_id)} == {(name, agent.agent_id)}


@pytest.mark.parametrize(
    ("registers", "listens"), [("{}", "{}:2.0.0"), ("team:{}", "team:{}"), ("team:{}", "team:{}:1.0.0")]
)
def test_a_stream_may_say_the_version_and_a_name_may_have_colons(tenant, name, plan_id, registers, listens):
    agent_id = tenant.register(registers.format(name), [type_of(name)])
    asked = ask(tenant, name, plan_id)
    with Listener(tenant, REQUESTS, name=listens.format(name), agent_id=agent_id) as agent:
        agent.heard(3)
    assert tenant.handed(plan_id) == asked


def test_bare_clients_whose_names_begin_alike_share_nothing(tenant, name):
    with Listener(tenant, RESULTS, name=f"{name}:1") as one, Listener(tenant, RESULTS, name=f"{name}:2") as two:
        sent = [tenant.publish(RESULTS, "question.answered")["id"] for _ in range(4)]
        one.heard(4)
        two.heard(4)
        assert (one.ids, two.ids) == (sent, sent)


def test_a_lot_that_waits_comes_whole_and_in_order(tenant, name, plan_id):
    """More than a stream may hold, for a name that nobody knew and again for one that is away."""
    asked = ask(tenant, name, plan_id, 300)
    with PlainWorker(tenant, type_of(name), name=name) as first:
        wait_until(lambda: len(first.done) == 300, 30, lambda: f"300, not {len(first.done)}")
    asked += ask(tenant, name, plan_id, 300)
    with PlainWorker(tenant, type_of(name), name=name) as second:
        all_completed(tenant, plan_id, asked)
    assert first.done + second.done == asked


def test_two_instances_of_a_name_share_the_work(tenant, name, plan_id):
    one = PlainWorker(tenant, type_of(name), name=name)
    two = PlainWorker(tenant, type_of(name), name=name)
    with one, two:
        asked = ask(tenant, name, plan_id, 60)
        all_completed(tenant, plan_id, asked)
    assert sorted(one.done + two.done) == sorted(asked)
    assert (len(one.done), len(two.done)) == (30, 30)


def test_two_names_that_consume_a_type_both_get_it_and_the_first_holds_it(tenant, name, plan_id):
    first = PlainWorker(tenant, type_of(name), name=f"{name}-a", answers=False)
    second = PlainWorker(tenant, type_of(name), name=f"{name}-b", answers=False)
    with first:
        [early] = ask(tenant, name, plan_id, 1)
        wait_until(lambda: tenant.task(early)["state"] == "running")
        with second:
            [late] = ask(tenant, name, plan_id, 1)
            first.heard(2)
            second.heard(1)
            assert tenant.task(early)["agent"] == first.name
            assert wait_until(lambda: tenant.task(late)["agent"]) in {first.name, second.name}
            wait_until(lambda: tenant.handed(plan_id).count(late) == 2)
    assert [m["data"]["task_id"] for m in first.messages] == [early, late]
    assert [m["data"]["task_id"] for m in second.messages] == [late]
    rows = [row for row in tenant.log(plan_id) if row["task_id"] == late and row["to_state"] == "running"]
    assert [row["by"] for row in rows] == [f"agent:{tenant.task(late)['agent']}"]


def test_a_reply_is_not_stolen_by_another_name(tenant, name):
    with Listener(tenant, RESULTS, name=f"{name}-a") as one, Listener(tenant, RESULTS, name=f"{name}-b") as two:
        sent = [tenant.publish(RESULTS, "question.answered", correlation_id=f"{name}-{n}")["id"] for n in range(10)]
        one.heard(10)
        two.heard(10)
        assert (one.ids, two.ids) == (sent, sent)


def test_what_was_handed_over_is_never_handed_over_again_on_its_own(tenant, name, plan_id):
    with PlainWorker(tenant, type_of(name), name=name, answers=False) as first:
        asked = ask(tenant, name, plan_id)
        first.heard(3)
    with (
        PlainWorker(tenant, type_of(name), name=name) as second,
        PlainWorker(tenant, type_of(name), name=name) as third,
    ):
        [last] = ask(tenant, name, plan_id, 1)
        wait_until(lambda: second.done + third.done == [last])
    states = tenant.states(plan_id)
    assert [states[task] for task in [*asked, last]] == ["running"] * 3 + ["completed"]
    assert tenant.handed(plan_id) == [*asked, last]
    assert tenant.plan(plan_id)["state"] == "in_progress"


def test_only_so_many_wait_and_only_so_long(start_server):
    server = start_server(SOORMA_WAITING_MESSAGES="5", SOORMA_WAITING_SECONDS="5")
    with contextlib.closing(Tenant(server, "w")) as tenant:
        for name, connected_before in (("known", True), ("new", False)):
            only_five_wait(tenant, name, connected_before)
        only_what_is_young_waits(tenant)


def only_five_wait(tenant, name, connected_before):
    if connected_before:
        with PlainWorker(tenant, type_of(name), name=name):
            pass
    asked = ask(tenant, name, name, 8)
    with PlainWorker(tenant, type_of(name), name=name) as worker:
        asked += ask(tenant, name, name, 1)
        wait_until(lambda: asked[-1] in worker.done)
        assert worker.done == asked[3:]
    assert sorted(tenant.states(name).values()) == ["completed"] * 6 + ["pending"] * 3


def only_what_is_young_waits(tenant):
    name, plan_id = "sleeper", "old-and-new"
    tenant.register("boss")
    with PlainWorker(tenant, type_of(name), name=name), Listener(tenant, RESULTS, name="boss"):
        pass
    ask(tenant, name, plan_id)
    tenant.publish(RESULTS, "old.completed")
    asked_at = time.monotonic()
    wait_until(lambda: time.monotonic() > asked_at + 5.1)
    fresh = ask(tenant, name, plan_id, 1)
    with PlainWorker(tenant, type_of(name), name=name) as worker, Listener(tenant, RESULTS, name="boss") as boss:
        boss.heard(1)
        wait_until(lambda: worker.done)
        assert worker.done == fresh
        assert [one["data"]["task_id"] for one in boss.messages] == fresh
