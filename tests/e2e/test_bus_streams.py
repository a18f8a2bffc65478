"""Event streams of a real server: who gets what, when, and how a stream begins and ends."""

import contextlib
import os
import socket
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.plain import FACTS, REQUESTS, RESULTS, Listener, PlainWorker, Tenant
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

TOPICS = [
    "action-requests", "action-results", "billing-events", "business-facts", "notification-events", "plan-events",
    "system-events", "task-events",
]  # fmt: skip
STREAM = "/v1/events/stream"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request):
    """A server of each kind, with quick heartbeats and little room for a stream."""
    with ServerProcess(server=request.param, SOORMA_STREAM_HEARTBEAT_SECONDS="1", SOORMA_STREAM_BUFFER="50") as process:
        yield process


@pytest.fixture(scope="module")
def tenant(site):
    with contextlib.closing(Tenant(site, "shared")) as one:
        yield one


def test_connected_comes_first_then_heartbeats_while_it_is_silent(tenant):
    with Listener(tenant, FACTS, "action-*", name="ear", agent_id="ear-1") as ear:
        assert ear.frames[0][0] == "connected"
        assert ear.frames[0][1]["topics"] == [FACTS, "action-*"]
        assert ear.frames[0][1]["agent_id"] == "ear-1"
        wait_until(lambda: len(ear.frames) == 3)
        assert ear.frames[1:] == [("heartbeat", {"connection_id": ear.frames[0][1]["connection_id"]})] * 2


@pytest.mark.parametrize(
    ("patterns", "heard"),
    [
        ("business-facts", ["business-facts"]),
        (" business-facts , ,task-events", ["business-facts", "task-events"]),
        ("*", TOPICS),
        (">", TOPICS),
        ("*,>,business-facts", TOPICS),  # once, however many patterns match
        ("business-facts.>", []),
        ("research.*", []),
        ("*.*", []),
        ("business-*", []),  # a star stands for a whole token
    ],
)
def test_patterns_match_topics(tenant, patterns, heard):
    with Listener(tenant, patterns, name="ear") as ear, Listener(tenant, "*", name="all") as everything:
        for topic in TOPICS:
            tenant.publish(topic, "something.happened", plan_id=f"plan-{topic}")
        everything.heard(len(TOPICS))
        ear.heard(len(heard))
        assert [one["topic"] for one in ear.messages] == heard


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("?topics=business-facts", 422),
        ("?agent_id=a", 422),
        ("?topics=business-facts&agent_id=", 422),
        ("?topics=&agent_id=a", 400),
        ("?topics=,%20,&agent_id=a", 400),
        (f"?topics={'x' * 256}&agent_id=a", 422),
        ("?topics=business-facts&agent_id=a%00b", 422),
    ],
)
def test_what_is_no_subscription(tenant, query, status):
    answer = tenant.http.get(STREAM + query)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status


def test_who_may_not_listen(site, workspace):
    query = "?topics=business-facts&agent_id=a"
    with site.client() as nobody:
        assert nobody.get(STREAM + query).status_code == 401
    with site.client("sk_invalid") as stranger:
        assert stranger.get(STREAM + query).status_code == 401
    with site.client(site.api_key(workspace, scopes="publish")) as publisher:
        assert publisher.get(STREAM + query).status_code == 403
    with site.client(site.api_key(workspace)) as other_method:
        assert other_method.post(STREAM + query).status_code == 405


def test_a_message_comes_as_it_was_published(tenant):
    data = {"camelCase": {"nested_key": [1, None, "ä€😀"]}, "zero": 0, "no": False, "null": None}
    with Listener(tenant, "business-facts", name="ear") as ear:
        more = {"correlation_id": "c-1", "trace_id": "t-1", "session_id": "s-1", "plan_id": "p-1", "goal_id": None}
        sent = tenant.publish("business-facts", "price.changed", data, parent_event_id="e-0", **more)
        [got] = ear.heard(1)
    assert got["data"] == data
    assert {name: value for name, value in sent.items() if value is not None}.items() <= (got | {"data": data}).items()
    assert None not in [value for name, value in got.items() if name != "data"]


def test_groups_get_a_copy_each_and_their_members_share(tenant):
    with (
        Listener(tenant, FACTS, name="a") as a,
        Listener(tenant, FACTS, name="b") as b1,
        Listener(tenant, FACTS, name="b") as b2,
        Listener(tenant, "business-facts", name="b") as b3,
    ):
        sent = [tenant.publish(FACTS, "thing.seen", {"n": n})["id"] for n in range(20)]
        a.heard(20)
        wait_until(lambda: len(b1.messages) + len(b2.messages) == 20)
        assert a.ids == sent
        assert sorted(b1.ids + b2.ids) == sorted(sent)
        assert (len(b1.messages), len(b2.messages), b3.messages) == (10, 10, [])


def test_what_a_bare_client_misses_is_not_kept_for_it(tenant):
    with Listener(tenant, RESULTS, name="ear"):
        pass
    tenant.publish(RESULTS, "early.completed")
    with Listener(tenant, RESULTS, name="ear") as ear:
        late = tenant.publish(RESULTS, "late.completed")
        assert [one["id"] for one in ear.heard(1)] == [late["id"]]


def test_who_leaves_takes_no_share_any_more(tenant):
    with Listener(tenant, FACTS, name="pair") as one:
        with Listener(tenant, FACTS, name="pair"):
            pass
        sent = [tenant.publish(FACTS, "thing.seen", {"n": n})["id"] for n in range(10)]
        assert [m["id"] for m in one.heard(10)] == sent


def test_tenants_hear_their_own_and_the_workspace_hears_all(site, workspace):
    acme, umbrella = Tenant(site, workspace), Tenant(site, workspace, "umbrella", "bob")
    everybody, stranger = Tenant(site, workspace, bound=False), Tenant(site, f"{workspace}-2", bound=False)
    with (
        Listener(acme, ">", name="ear") as a,
        Listener(umbrella, ">", name="ear") as u,
        Listener(everybody, ">", name="ear") as e,
        Listener(stranger, ">", name="ear") as s,
    ):
        first = acme.publish(FACTS, "thing.seen")["id"]
        second = umbrella.publish(FACTS, "thing.seen")["id"]
        other = stranger.publish(FACTS, "thing.seen")["id"]
        for ear, count in ((a, 1), (u, 1), (e, 2), (s, 1)):
            ear.heard(count)
        assert (a.ids, u.ids, e.ids, s.ids) == ([first], [second], [first, second], [other])
    for one in (acme, umbrella, everybody, stranger):
        one.close()


def test_moves_are_told_on_the_bus(tenant):
    plan_id = f"plan-{uuid4().hex}"
    with Listener(tenant, "task-events", "plan-events", name="watcher") as watcher:
        with PlainWorker(tenant, "parts.check.requested", name="worker") as worker:
            asked = tenant.ask(plan_id=plan_id)
            watcher.heard(3)
        task_id, plan_moves = asked["data"]["task_id"], [m for m in watcher.messages if m["topic"] == "plan-events"]
        task_moves = [m for m in watcher.messages if m["topic"] == "task-events"]
    assert [(m["type"], m["data"]["previous_state"], m["data"]["new_state"]) for m in task_moves] == [
        ("task.state_changed", "pending", "running"),
        ("task.state_changed", "running", "completed"),
    ]
    rows = [row for row in tenant.log(plan_id) if row["kind"] == "transition" and row["from_state"]]
    told = [
        {
            "task_id": row["task_id"], "plan_id": plan_id, "previous_state": row["from_state"],
            "new_state": row["to_state"], "version": row["version"], "seq": row["seq"], "by": row["by"],
            "reason": row["reason"],
        }
        for row in rows
    ]  # fmt: skip
    assert [m["data"] for m in watcher.messages] == told
    assert [m["data"]["by"] for m in task_moves] == ["agent:worker", "agent:worker"]
    assert [
        (m["type"], m["data"]["previous_state"], m["data"]["new_state"], m["data"]["task_id"]) for m in plan_moves
    ] == [("plan.state_changed", "in_progress", "completed", None)]
    assert {m["source"] for m in watcher.messages} == {"tracker"}
    assert {m["tenant_id"] for m in watcher.messages} == {"acme"}
    assert worker.done == [task_id]
    # What the tracker says is no message that came in.
    assert [row["topic"] for row in tenant.log(plan_id) if row["kind"] == "message"] == [REQUESTS, RESULTS]


def test_nobody_else_speaks_for_the_tracker(tenant):
    answer = tenant.http.post(
        "/v1/events/publish",
        json={"event": tenant.envelope("task-events", "task.state_changed", source="tracker", plan_id="p")},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.headers["content-type"] == "application/problem+json"
    assert tenant.plan("p") is None


def deaf(tenant, name, agent_id=None):
    """A client that opens a stream of everything and never reads it."""
    connection = socket.create_connection(("127.0.0.1", tenant.server.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    agent_id = agent_id or f"{name}-deaf"
    connection.sendall(
        f"GET {STREAM}?topics=>&agent_id={agent_id}&agent_name={name} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {tenant.key}\r\n\r\n".encode()
    )
    return connection


def memory_of(pid):
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_who_never_reads_costs_no_memory_and_delays_nobody(tenant):
    """60 MB are published past four clients that do not read; each may hold a few MB in the server, and no more."""
    text = "x" * 300_000
    with contextlib.ExitStack() as stack:
        for n in range(4):
            stack.enter_context(contextlib.closing(deaf(tenant, f"deaf-{n}")))
        ear = stack.enter_context(Listener(tenant, FACTS, name="ear"))
        for n in range(20):
            tenant.publish(FACTS, "warm.up", {"n": n, "text": text})
        ear.heard(20)
        before = memory_of(tenant.server.pid)
        for n in range(200):
            tenant.publish(FACTS, "thing.seen", {"n": n, "text": text})
        ear.heard(220)
        assert [one["data"]["n"] for one in ear.messages[20:]] == list(range(200))
        grown = memory_of(tenant.server.pid) - before
    assert grown < 45, f"{grown:.0f} MB"


def test_an_instance_that_does_not_read_leaves_the_work_to_the_other(tenant):
    plan_id, padding = f"plan-{uuid4().hex}", "x" * 50_000
    tenant.register("pair", ["big.requested"], "pair-deaf")
    with contextlib.closing(deaf(tenant, "pair", "pair-deaf")), PlainWorker(tenant, "big.requested", name="pair") as ok:
        for _ in range(400):
            tenant.ask("big.requested", {"padding": padding}, plan_id=plan_id)
        held = wait_until(lambda: settled(tenant, plan_id, ok), 30)
    assert len(held) < 200
    assert len(ok.done) == 400 - len(held)


def settled(tenant, plan_id, worker):
    """The tasks that another instance holds, once everything has been handed over and this worker is done."""
    tasks = tenant.tasks(plan_id)
    running = [task["task_id"] for task in tasks if task["state"] == "running" and task["agent_id"] == "pair-deaf"]
    done = sum(task["state"] == "completed" for task in tasks)
    return running if len(running) + done == 400 and done == len(worker.done) else None


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_client_that_does_not_read_does_not_keep_the_server_from_ending(start_server, kind):
    server = start_server(server=kind)
    tenant = Tenant(server, "w")
    with contextlib.closing(tenant), contextlib.closing(deaf(tenant, "deaf")), Listener(tenant, ">", name="ear") as ear:
        for _ in range(20):
            tenant.publish(FACTS, "thing.seen", {"text": "x" * 300_000})
        ear.heard(20)
        server.stop()
        assert ear.ended() == "cleanly"
        assert ear.frames[-1][0] == "disconnected"
