"""Who is there, what each agent is doing, what waits and why, and what an agent has done."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.accounts.factories import make_member
from tests.tracker.queries.asking import NOT_FOUND, Api
from tests.tracker.stalls import Stall
from tracker.changes import Handover, PlanMove
from tracker.models import Agent, LogRow, Presence, QueueGroup, Task

CHECK = "parts.check.requested"


@pytest.fixture
def api(run):
    return Api(run.workspace)


def connect(run, agent, since=None):
    """What the bus has recorded of an agent whose stream is open."""
    return Presence.objects.create(
        workspace=run.workspace,
        tenant_id=agent.tenant_id,
        agent_id=agent.agent_id,
        name=agent.base_name,
        connection="c",
        connected_at=since or datetime.now(UTC),
    )


def worker(run, name="parts-worker", *types, **fields):
    consumed = ", ".join(f'"{one}"' for one in types or (CHECK,))
    return run.agent(name, consumed_events=f"[{consumed}]", **fields)


def hand_over(run, agent, *task_ids):
    """The bus gives the requests of these tasks to the agent."""
    group, _ = QueueGroup.objects.get_or_create(
        workspace=run.workspace, name=agent.base_name, defaults={"seen_at": datetime.now(UTC)}
    )
    requests = LogRow.objects.filter(kind="message", topic="action-requests", task__task_id__in=task_ids)
    rows = list(requests.order_by("id").values_list("id", flat=True))
    give = {"row_ids": rows, "name": agent.base_name, "agent_id": agent.agent_id}
    run.record(run.change(Handover, **give, group_id=group.pk, cursor=max(rows)))


def waiting(api):
    return [(one["event_type"], one["count"], one["why"]) for one in api.ok("/agents")["waiting"]]


def test_agents_by_name_with_their_instances(run, api):
    since = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
    first = worker(run, agent_id="w-1", produced_events='["parts.check.completed"]', description="Checks parts")
    silent = worker(run, agent_id="w-2", version="0.2.0")
    Agent.objects.filter(pk=silent.pk).update(heartbeat_at=datetime.now(UTC) - timedelta(hours=1))
    worker(run, "bay-worker", "bay.book.requested", agent_id="b-1", signed_off_at=datetime.now(UTC))
    connect(run, first, since)
    parts, bay = api.ok("/agents")["agents"]
    assert (parts["name"], parts["presence"], parts["consumed_events"]) == ("parts-worker", "connected", [CHECK])
    assert (parts["description"], parts["produced_events"]) == ("Checks parts", ["parts.check.completed"])
    told = [(one["agent_id"], one["version"], one["presence"], one["connected_since"]) for one in parts["instances"]]
    assert told == [("w-1", "0.1.0", "connected", "2026-11-24T08:30:00.000000Z"), ("w-2", "0.2.0", "silent", None)]
    assert (bay["name"], bay["presence"], bay["instances"][0]["connected"]) == ("bay-worker", "away", False)


def test_what_each_is_doing(run, api):
    agent = worker(run)
    connect(run, agent)
    plan_id, tasks = run.plan(5)
    hand_over(run, agent, *tasks[:4])
    run.running(plan_id, tasks[1], state="waiting")
    run.result(plan_id, tasks[0])
    run.record(run.change(Stall, task_id=tasks[2]))
    [line] = api.ok("/agents")["agents"]
    [instance] = line["instances"]
    assert (line["holds"], instance["holds"], instance["more"]) == (3, 3, 0)
    shown = [(task["plan_id"], task["task_id"], task["name"], task["state"]) for task in instance["tasks"]]
    assert shown == [
        (plan_id, tasks[1], "parts-check-2", "waiting"),
        (plan_id, tasks[2], "parts-check-3", "stalled"),
        (plan_id, tasks[3], "parts-check-4", "running"),
    ]
    assert datetime.fromisoformat(instance["tasks"][0]["since"]) == Task.objects.get(task_id=tasks[1]).started_at


def test_nobody_listens(run, api):
    run.plan(2)
    run.plan(1, type="bay.book.requested")
    [parts, bay] = api.ok("/agents")["waiting"]
    assert parts == {
        "event_type": CHECK,
        "count": 2,
        "since": parts["since"],
        "why": "nobody_listens",
        "detail": f"no connected agent consumes {CHECK}",
    }
    first = Task.objects.filter(event_type=CHECK).order_by("id").first()
    assert datetime.fromisoformat(parts["since"]) == first.created_at
    assert (bay["event_type"], bay["count"]) == ("bay.book.requested", 1)


def test_those_who_would_listen_are_away(run, api):
    run.plan(1)
    agent = worker(run)
    assert waiting(api) == [(CHECK, 1, "agent_away")]
    presence = connect(run, agent)
    assert waiting(api) == [(CHECK, 1, "queued")]
    Presence.objects.filter(pk=presence.pk).update(connection="", lost_at=datetime.now(UTC))
    [queue] = api.ok("/agents")["agents"][0]["waiting"]
    assert queue["detail"] == f"no connected agent consumes {CHECK}: parts-worker lost the connection"
    Agent.objects.filter(pk=agent.pk).update(signed_off_at=datetime.now(UTC))
    [queue] = api.ok("/agents")["waiting"]
    assert (queue["why"], queue["detail"]) == (
        "agent_away",
        f"no connected agent consumes {CHECK}: parts-worker signed off",
    )


def test_a_held_plan_holds_its_requests_back(run, api):
    plan_id, _ = run.plan(3)
    run.plan(1)
    connect(run, worker(run))
    run.record(run.change(PlanMove, plan_id=plan_id, to="paused"))
    assert waiting(api) == [(CHECK, 3, "held"), (CHECK, 1, "queued")]
    assert api.ok("/agents")["waiting"][0]["detail"] == "an operator holds their plan"


def test_one_agent_with_its_history(run, api):
    agent = worker(run, agent_id="w-1")
    connect(run, agent)
    plan_id, tasks = run.plan(3)
    hand_over(run, agent, *tasks[:2])
    run.result(plan_id, tasks[0])
    run.result(plan_id, tasks[1], status="failed")
    page = api.ok("/agents/parts-worker")
    assert (page["name"], page["presence"], [queue["count"] for queue in page["waiting"]]) == (
        "parts-worker",
        "connected",
        [1],
    )
    assert [(task["task_id"], task["state"], task["agent_id"]) for task in page["history"]] == [
        (tasks[1], "failed", "w-1"),
        (tasks[0], "completed", "w-1"),
    ]
    task = Task.objects.get(task_id=tasks[0])
    assert page["history"][1]["queue_seconds"] == (task.started_at - task.created_at).total_seconds()
    assert page["history"][1]["work_seconds"] == (task.ended_at - task.started_at).total_seconds()
    assert api.ok("/agents/w-1") == api.ok("/agents/parts-worker:0.1.0") == page
    assert api.problem("/agents/nobody") == NOT_FOUND


def test_an_agent_that_never_registered_has_a_history_all_the_same(run, api):
    plan_id, (task,) = run.plan()
    run.running(plan_id, task, source="curl")
    page = api.ok("/agents/curl")
    assert (page["instances"], [one["task_id"] for one in page["history"]]) == ([], [task])


def test_the_roster_costs_the_same_for_1_agent_and_for_30(run, django_assert_max_num_queries):
    api = Api(run.workspace)

    def cost(path):
        with django_assert_max_num_queries(100) as queries:
            api.ok(path)
        return len(queries)

    def add(count):
        for _ in range(count):
            agent = worker(run)
            connect(run, agent)
            hand_over(run, agent, *run.plan(3)[1])
            run.plan()

    add(1)
    api.ok("/agents")
    before = cost("/agents"), cost("/agents/parts-worker")
    add(30)
    assert (cost("/agents"), cost("/agents/parts-worker")) == before


def test_the_pages_say_all_this(run, client):
    client.force_login(make_member(run.workspace, role="viewer").user)
    agent = worker(run, agent_id="w-1")
    connect(run, agent)
    _, tasks = run.plan(2)
    hand_over(run, agent, tasks[0])
    run.plan(1, type="bay.book.requested")
    page = client.get("/agents").content.decode()
    assert re.findall(r'data-presence="([^"]+)"', page) == ["connected"]
    assert "no connected agent consumes bay.book.requested" in page
    assert f"?task={tasks[0]}" in page
    one = client.get("/agents/parts-worker").content.decode()
    assert 'data-agent="w-1"' in one
    assert f"?task={tasks[0]}" in one
    gone = client.get("/agents/nobody")
    assert (gone.status_code, "There is no agent with this name" in gone.content.decode()) == (404, True)
