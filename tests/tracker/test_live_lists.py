"""List streams: plans with filters, agents."""

import zlib

import pytest

from tests.accounts.factories import make_key, make_workspace
from tests.tracker.live_client import Client, committed, in_thread, with_key
from tests.tracker.runs import Run
from tracker.live.hub import hub
from tracker.models import Agent, Plan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run():
    return Run(make_workspace())


@pytest.fixture
def headers(run):
    return with_key(make_key(run.workspace, scopes=["read"])[1])


@pytest.fixture
async def live():
    """The hub of this process, running in the test's loop."""
    hub.start()
    yield hub
    await hub.stop()


def digest_of(items, id="plan_id"):
    return f"{zlib.crc32(''.join(line(item[id], item['stamp']) for item in items).encode()):08x}"


def line(id, stamp):
    return f"{id}:{stamp}\n"


async def test_plans_come_newest_first_and_then_as_they_change(live, run, headers):
    old, _ = await in_thread(run.plan)
    new, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        first = await client.subscribe("plans")
        items = first["data"]["items"]
        assert [item["plan_id"] for item in items] == [new, old]
        assert [item["stamp"] for item in items] == [item["seq"] for item in items]
        assert first["digest"] == digest_of(items)
        await committed(run.request_message(old, "another"))
        patch = await client.hear()
        assert (patch["op"], patch["gone"]) == ("patch", [])
        assert [(item["plan_id"], item["task_count"]) for item in patch["items"]] == [(old, 2)]
        await hub.tell_heads()
        head = await client.hear()
        assert (head["op"], head["digest"]) == ("head", digest_of([items[0], patch["items"][0]]))


async def test_a_burst_is_told_as_the_newest_state_of_each_plan(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        await client.subscribe("plans")
        for number in range(30):
            await committed(run.request_message(plan_id, f"{plan_id}-more-{number}"))
        patches = [await client.hear()]
        while patches[-1]["items"][0]["task_count"] < 31:
            patches.append(await client.hear())
        counts = [patch["items"][0]["task_count"] for patch in patches]
        assert counts == sorted(set(counts))


async def test_a_filter_lets_pass_and_says_what_has_gone(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    other, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        first = await client.subscribe("plans", filter={"state": "in_progress", "q": plan_id})
        assert [item["plan_id"] for item in first["data"]["items"]] == [plan_id]
        await committed(run.message("system-events", "plan.completed", {"plan_id": plan_id}, plan_id=plan_id))
        patch = await client.hear()
        assert (patch["items"], patch["gone"]) == ([], [plan_id])
        await committed(run.message("system-events", "plan.completed", {"plan_id": other}, plan_id=other))
        assert (await client.hear())["gone"] == [other]


async def test_a_change_that_nobody_told_comes_with_the_head(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        await client.subscribe("plans")
        await in_thread(run.request, plan_id, "untold")
        await hub.tell_heads()
        patch, head = await client.hear(), await client.hear()
        assert [item["task_count"] for item in patch["items"]] == [2]
        assert head["digest"] == digest_of(patch["items"])


async def test_a_hint_from_another_process_is_a_patch(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    plan = await in_thread(lambda: Plan.objects.get(plan_id=plan_id))
    async with Client(headers) as client:
        await client.subscribe("plans")
        hub.heard_of(plan.pk, plan.workspace_id, plan.seq)
        assert (await client.hear())["items"][0]["plan_id"] == plan_id


async def test_tenants_and_workspaces_do_not_see_each_other(live, run):
    neighbour = Run(run.workspace, tenant="globex")
    stranger = Run(await in_thread(make_workspace))
    mine, _ = await in_thread(run.plan)
    await in_thread(neighbour.plan)
    await in_thread(stranger.plan)
    key = await in_thread(lambda: make_key(run.workspace, scopes=["read"], tenant_id="acme", user_id="alice")[1])
    async with Client(with_key(key)) as client:
        first = await client.subscribe("plans")
        assert [item["plan_id"] for item in first["data"]["items"]] == [mine]
        assert (await client.subscribe("plans", filter={"tenant": "globex"}))["data"]["items"] == []
        await client.subscribe("plans")
        for other in (neighbour, stranger):
            await committed(other.request_message(f"plan-of-{other.tenant}", f"task-of-{other.workspace.pk}"))
        await committed(run.request_message(mine, "mine-too"))
        patch = await client.hear()
        while patch["items"] == [] == patch["gone"]:
            patch = await client.hear()
        assert ([item["plan_id"] for item in patch["items"]], patch["gone"]) == ([mine], [])


async def test_agents_say_who_is_registered_and_connected(live, run, headers, monkeypatch):
    connected = set()
    monkeypatch.setattr(
        hub, "connected_agents", lambda workspace_id: connected if workspace_id == run.workspace.pk else ()
    )
    agent = await in_thread(run.agent)
    async with Client(headers) as client:
        first = await client.subscribe("agents")
        described = [(one["agent_id"], one["live"], one["connected"]) for one in first["data"]["items"]]
        assert described == [(agent.agent_id, True, False)]
        assert first["digest"] == digest_of(first["data"]["items"], "agent_id")
        connected.add(agent.agent_id)
        hub.agents_changed(run.workspace.pk)
        assert [one["connected"] for one in (await client.hear())["items"]] == [True]
        await in_thread(lambda: Agent.objects.filter(pk=agent.pk).delete())
        hub.agents_changed(run.workspace.pk)
        patch = await client.hear()
        assert (patch["items"], patch["gone"]) == ([], [agent.agent_id])
