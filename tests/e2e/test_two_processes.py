"""Two server processes on one PostgreSQL and one Redis: what one commits, the other's agents and browsers get."""

import json
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from tests.e2e.declared import ask, asked, declare
from tests.e2e.plain import FACTS, REQUESTS, RESULTS, Listener, PlainWorker, Tenant
from tests.services.receiver import Receiver, verified
from tests.services.redis import Redis
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def shared_redis():
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def pair(postgres, shared_redis):
    """Two servers of different kinds that share their world."""
    world = {
        "DATABASE_URL": postgres.new_database(),
        "REDIS_URL": shared_redis.url,
        "SOORMA_WEBHOOKS_ALLOW_PRIVATE": "1",
    }
    with ServerProcess(**world) as one, ServerProcess(server="uvicorn", **world) as other:
        yield one, other


@pytest.fixture(scope="module")
def tenants(pair):
    """The same tenant at both servers; tests keep apart by the names of their agents and types."""
    one, other = (Tenant(server, "shared") for server in pair)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def name():
    """An agent name of this test alone."""
    return f"agent-{uuid4().hex[:8]}"


@dataclass(frozen=True)
class Made:
    """Facts of an agent's name that are of a type of its own."""

    name: str

    @property
    def type(self):
        return f"{self.name}.made"

    def by(self, here, there, count):
        """Publish so many, in turns, and give their ids."""
        return [(here, there)[n % 2].publish(FACTS, self.type)["id"] for n in range(count)]


class Hearing(Listener):
    """Listens to facts under their maker's name; `got` are the ids of those that it made."""

    def __init__(self, tenant, made):
        super().__init__(tenant, FACTS, name=made.name)
        self._made = made

    @property
    def got(self):
        return self.ids_of(self._made.type)


@pytest.fixture
def made(name):
    return Made(name)


def told_at_once(here, there):
    """Wait until both servers are told again of what the other one commits."""

    def told(ear, teller, made):
        [sent] = made.by(teller, teller, 1)
        with suppress(AssertionError):
            return wait_until(lambda: sent in ear.got, 0.5)

    for to, teller in ((here, there), (there, here)):
        made = Made(f"told-{uuid4().hex[:8]}")
        with Hearing(to, made) as ear:
            wait_until(lambda: told(ear, teller, made), 20, "a server that is told at once")  # noqa: B023


def streams_of(tenant):
    """How many event streams are open at this tenant's server."""
    [line] = [line for line in tenant.http.get("/metrics").text.splitlines() if 'sockets{kind="stream"}' in line]
    return float(line.split()[-1])


@pytest.fixture
def kind():
    """A request type of this test alone."""
    return f"check-{uuid4().hex[:8]}.requested"


def test_an_event_published_to_one_reaches_an_agent_on_the_other(tenants, name, kind):
    here, there = tenants
    plan_id = str(uuid4())
    with PlainWorker(there, kind, name=name):
        here.ask(kind, task_id="t1", plan_id=plan_id)
        wait_until(lambda: here.states(plan_id) == {"t1": "completed"}, 20, "the answer of the other server's agent")
    assert [r["to_state"] for r in here.log(plan_id) if r["task_id"] and r["kind"] == "transition"] == [
        "pending", "running", "completed",
    ]  # fmt: skip


def test_instances_of_a_name_on_both_share_the_work_and_none_is_done_twice(tenants, name, kind):
    here, there = tenants
    plan_id = str(uuid4())
    with PlainWorker(here, kind, name=name) as one, PlainWorker(there, kind, name=name) as other:
        for n in range(60):
            (here, there)[n % 2].ask(kind, plan_id=plan_id)
        wait_until(lambda: Counter(here.states(plan_id).values()) == {"completed": 60}, 30, "60 completed tasks")
        asked = Counter(message["data"]["task_id"] for message in (*one.messages, *other.messages))
    assert max(asked.values()) == 1
    assert len(asked) == 60
    assert one.messages
    assert other.messages


def test_each_result_goes_to_one_instance_and_another_takes_over(tenants, name):
    here, there = tenants
    for tenant in tenants:
        tenant.register(name, ["maintenance.goal"], agent_id=f"{name}-{tenant.server.port}")
    agent_ids = [f"{name}-{tenant.server.port}" for tenant in tenants]
    with Listener(there, RESULTS, name=name, agent_id=agent_ids[1]) as other:
        with Listener(here, RESULTS, name=name, agent_id=agent_ids[0]) as one:
            sent = [(here, there)[n % 2].publish(RESULTS, f"{name}.completed")["id"] for n in range(40)]
            wait_until(lambda: len(one.ids) + len(other.ids) >= 40, 20, "40 results")
            assert sorted(one.ids + other.ids) == sorted(sent)
        later = [here.publish(RESULTS, f"{name}.completed")["id"] for _ in range(10)]
        wait_until(lambda: set(later) <= set(other.ids), 20, "the results after one has gone")
        assert max(Counter(one.ids + other.ids).values()) == 1


def test_a_client_that_never_registered_gets_each_message_once(tenants, made):
    here, there = tenants
    with Hearing(here, made) as one, Hearing(there, made) as other:
        sent = made.by(here, there, 20)
        wait_until(lambda: len(one.got + other.got) >= 20, 20, "20 messages")
        assert sorted(one.got + other.got) == sorted(sent)


@pytest.mark.parametrize("fault", [("kill", "start"), ("freeze", "thaw")], ids=["killed", "frozen"])
def test_facts_that_redis_did_not_carry_arrive_all_the_same(tenants, made, shared_redis, fault):
    """Facts wait for nobody, but who is connected gets them, once. What a frozen Redis holds is told when it is old."""
    here, there = tenants
    begin, end = (getattr(shared_redis, do) for do in fault)
    with Hearing(here, made) as one, Hearing(there, made) as other:
        begin()
        try:
            sent = made.by(here, there, 20)
            wait_until(lambda: len(one.got + other.got) >= 20, 20, "20 messages")
        finally:
            end()
        sent += made.by(here, there, 20)
        wait_until(lambda: len(one.got + other.got) >= 40, 20, "40 messages")
        told_at_once(here, there)
        assert sorted(one.got + other.got) == sorted(sent)


def test_a_fact_that_is_too_large_to_be_told_arrives(tenants, made):
    here, there = tenants
    with Hearing(here, made) as one:
        sent = there.publish(FACTS, made.type, {"text": "x" * 900_000})["id"]
        wait_until(lambda: one.got == [sent], 20, "the message")
        assert [len(it["data"]["text"]) for it in one.messages if it["id"] == sent] == [900_000]


@pytest.mark.parametrize("registered", [True, False])
def test_an_instance_takes_over_from_one_on_the_other_server(tenants, made, registered):
    """All that is said once the server has seen the first one leave; and each fact once."""
    here, there = tenants
    if registered:
        here.register(made.name, [f"{made.name}.requested"])
    with Hearing(here, made) as one, Hearing(there, made) as other:
        first = made.by(here, there, 20)
        wait_until(lambda: len(one.got) >= 20, 20, "20 messages for the first one")
        one.leave()
        wait_until(lambda: not streams_of(here), 20, "a server that has seen its client leave")
        sent = made.by(here, there, 20)
        wait_until(lambda: set(sent) <= set(other.got), 20, "the messages after one has gone")
        assert sorted(one.got + other.got) == sorted(first + sent)


def test_moves_are_told_to_an_instance_that_takes_over(tenants, name):
    plan_ids = [str(uuid4()) for _ in range(10)]
    with Listener(tenants[0], "plan-events", name=name) as one, Listener(tenants[1], "plan-events", name=name) as other:
        one.leave()
        wait_until(lambda: not streams_of(tenants[0]), 20, "a server that has seen its client leave")
        for n, plan_id in enumerate(plan_ids):
            tenants[n % 2].publish(FACTS, "plan.failed", {"plan_id": plan_id, "error": "no"}, plan_id=plan_id)

        def told():
            return sorted(it["data"]["plan_id"] for it in other.messages if it["data"]["plan_id"] in plan_ids)

        wait_until(lambda: len(told()) >= 10, 20, lambda: f"ten plans that have failed, not {len(told())}")
        assert told() == sorted(plan_ids)


def test_facts_go_on_when_the_server_that_serves_a_name_is_killed(postgres, shared_redis, made):
    """At least once: of those that the other instance had been given, some may come again."""
    world = {"DATABASE_URL": postgres.new_database(), "REDIS_URL": shared_redis.url}
    with ExitStack() as stack:
        one, other = (stack.enter_context(ServerProcess(**world)) for _ in range(2))
        here, there = (stack.enter_context(closing(Tenant(server, "acme"))) for server in (one, other))
        with Hearing(here, made), Hearing(there, made) as rest:
            one.kill()
            sent = made.by(there, there, 40)
            wait_until(lambda: set(sent) <= set(rest.got), 20, "the messages after the kill")


def test_a_client_that_never_registered_may_come_back_to_the_other_server(tenants, made):
    for tenant in (*tenants, *tenants):
        with Hearing(tenant, made) as one:
            sent = made.by(*tenants, 2)
            wait_until(lambda: len(one.got) >= 2, 20, "two messages")
            assert sorted(one.got) == sorted(sent)


def test_what_waits_is_handed_over_by_either(tenants, name, kind):
    here, there = tenants
    plan_id = str(uuid4())
    agent_id = here.register(name, [kind])
    with Listener(here, REQUESTS, name=name, agent_id=agent_id):
        pass
    sent = [there.ask(kind, plan_id=plan_id)["id"] for _ in range(5)]
    with PlainWorker(there, kind, name=name, agent_id=agent_id) as back:
        wait_until(lambda: Counter(here.states(plan_id).values()) == {"completed": 5}, 20, "five completed tasks")
        assert back.ids == sent


def test_each_webhook_is_sent_by_one_of_them(tenants):
    plans = {str(uuid4()) for _ in range(20)}
    with Receiver() as receiver:
        endpoint = tenants[0].http.post("/v1/webhooks", json={"url": receiver.url, "events": ["plan.failed"]}).json()
        for n, plan_id in enumerate(sorted(plans)):
            tenants[n % 2].publish(FACTS, "plan.failed", {"plan_id": plan_id, "error": "no"}, plan_id=plan_id)
        receiver.heard(20)
        path = f"/v1/webhooks/{endpoint['id']}/deliveries"
        wait_until(
            lambda: {one["state"] for one in tenants[1].http.get(path).json()["items"]} == {"delivered"},
            20,
            "the notes",
        )
        assert {verified(call, endpoint["secret"])["data"]["plan_id"] for call in receiver.calls} == plans
        assert len({call.headers["webhook-id"] for call in receiver.calls}) == len(receiver.calls) == 20
        assert tenants[0].http.delete(f"/v1/webhooks/{endpoint['id']}").is_success


def test_what_a_dead_agent_held_is_tried_again_once(pair, name, kind):
    """Both processes know the deadline; one acts on it."""
    plan_ids = [str(uuid4()) for _ in range(5)]
    with ExitStack() as stack:
        here, there = (stack.enter_context(closing(Tenant(server, "tried-again"))) for server in pair)
        with pair[0].client(pair[0].api_key("tried-again")) as admin:
            admin.put("/v1/policies", json={"items": [{"action": "retry", "backoff": 0}]})
        with PlainWorker(here, kind, name=name, answers=False) as dead:
            for plan_id in plan_ids:
                there.ask(kind, plan_id=plan_id)
            dead.heard(5)
        with PlainWorker(there, kind, name=name) as alive:
            for plan_id in plan_ids:
                wait_until(lambda: there.plan(plan_id)["state"] == "completed", 30, "another attempt")  # noqa: B023
            assert len(alive.ids) == 5
        for plan_id in plan_ids:
            marks = [row["type"] for row in there.log(plan_id) if row["type"] == "task.stalled"]
            moves = [row["to_state"] for row in there.log(plan_id) if row["task_id"] and row["kind"] == "transition"]
            assert (marks, moves) == (
                ["task.stalled"], ["pending", "running", "pending", "running", "completed"],
            )  # fmt: skip


class Follower:
    """A browser's side of a plan stream: every seq that came."""

    def __init__(self, stack, tenant, plan_id):
        headers = {"Authorization": f"Bearer {tenant.key}"}
        self.socket = stack.enter_context(
            connect(tenant.server.live_url, additional_headers=headers, proxy=None, max_size=None)
        )
        self.socket.send(json.dumps({"op": "sub", "stream": f"plan:{plan_id}", "after": 0}))
        self.seqs, self.resyncs = [], 0

    def follow(self, seq):
        """Read until this seq has come."""
        while not self.seqs or self.seqs[-1] < seq:
            frame = json.loads(self.socket.recv(20))
            self.resyncs += frame["op"] == "resync"
            self.seqs += [row["seq"] for row in frame.get("rows", ())]


def test_a_transition_reaches_a_browser_on_the_other_also_when_redis_is_restarted_or_gone(tenants, kind, shared_redis):
    here, there = tenants
    plan_id = str(uuid4())
    here.ask(kind, plan_id=plan_id)
    with ExitStack() as stack:
        followers = [Follower(stack, tenant, plan_id) for tenant in tenants]

        def step():
            (here, there)[len(followers[0].seqs) % 2].ask(kind, plan_id=plan_id)
            for follower in followers:
                follower.follow(here.plan(plan_id)["seq"])

        for _ in range(3):
            step()
        shared_redis.kill()
        for _ in range(2):
            step()
        shared_redis.start()
        for _ in range(3):
            step()
        for follower in followers:
            assert follower.seqs == list(range(1, here.plan(plan_id)["seq"] + 1))
            assert follower.resyncs == 0
    told_at_once(here, there)


def test_with_redis_gone_agents_still_get_their_work(tenants, name, kind, shared_redis):
    here, there = tenants
    plan_id = str(uuid4())
    with PlainWorker(there, kind, name=name):
        shared_redis.kill()
        try:
            assert here.http.get("/ready").json()["checks"]["redis"].startswith("unreachable")
            here.ask(kind, task_id="t-gone", plan_id=plan_id)
            wait_until(lambda: here.states(plan_id) == {"t-gone": "completed"}, 20, "the task by way of the log")
        finally:
            shared_redis.start()
    wait_until(lambda: here.http.get("/ready").status_code == 200, 20, "Redis again")
    told_at_once(here, there)


def test_declared_plans_run_over_both_and_each_step_is_asked_for_once(tenants, name):
    here, there = tenants
    tag = uuid4().hex[:8]
    states = {f"s{n}": {"action": ask(f"s{n}", tag), "default_next": f"s{n + 1}"} for n in range(4)}
    states["s4"] = {"actions": [ask("left", tag), ask("right", tag)], "default_next": "end"}
    states["end"] = {"is_terminal": True}
    definition = {"goal": "both.goal", "initial_state": "s0", "states": states}
    types = [f"{type}-{tag}.requested" for type in ("s0", "s1", "s2", "s3", "left", "right")]
    with PlainWorker(here, *types[::2], name=f"{name}-a"), PlainWorker(there, *types[1::2], name=f"{name}-b"):
        plans = [declare((here, there)[n % 2], definition) for n in range(20)]
        for plan_id in plans:
            wait_until(lambda: there.plan(plan_id)["state"] == "completed", 30, lambda: here.log(plan_id)[-3:])  # noqa: B023
    for plan_id in plans:
        assert asked(here, plan_id) == {type.partition("-")[0]: [1] for type in types}
