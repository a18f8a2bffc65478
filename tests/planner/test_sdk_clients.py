"""The published SDK's own clients against the API, in one process."""

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from soorma.context import MemoryClient, PlatformContext
from soorma.memory.client import MemoryServiceClient
from soorma.plan_context import PlanContext
from soorma.registry.client import RegistryClient
from soorma.task_context import SubTaskInfo, TaskContext
from soorma_common import AgentCapability, AgentDefinition, EventDefinition, PayloadSchema
from soorma_common.state import StateConfig

from tests.accounts.factories import make_workspace
from tests.planner.calls import Agent

pytestmark = pytest.mark.django_db(transaction=True)
URL = "http://localhost"
OWNER = {"tenant_id": "acme", "user_id": "alice"}
SERVICE_OWNER = {"service_tenant_id": "acme", "service_user_id": "alice"}


@pytest.fixture
async def through_asgi():
    """Let a client of the SDK call the Django application in this process."""
    clients = []

    async def connect(client):
        await client.close()
        client._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=get_asgi_application()))
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
async def token(db):
    return await sync_to_async(lambda: Agent(make_workspace(), "acme", "alice").token)()


@pytest.fixture
async def memory(through_asgi, token):
    return await through_asgi(MemoryServiceClient(URL, auth_token=token))


@pytest.fixture
async def registry(through_asgi, token):
    return await through_asgi(RegistryClient(URL, auth_token=token))


@pytest.fixture
async def platform(memory, token):
    """The context that handlers get, its memory client on our transport."""
    client = MemoryClient(base_url=URL, auth_token=token)
    client._client = memory
    return PlatformContext(memory=client, auth_token=token)


def an_event(name, topic):
    return EventDefinition(event_name=name, topic=topic, description=name)


async def test_registry(registry):
    checked = an_event("parts.check.requested", "action-requests")
    done = an_event("parts.check.completed", "action-results")
    schema = PayloadSchema(schema_name="check_v1", version="1.0.0", json_schema={"type": "object"})
    capability = AgentCapability(task_name="check", description="", consumed_event=checked, produced_events=[done])
    agent = AgentDefinition(agent_id="a-1", name="parts-worker", description="", capabilities=[capability])
    assert (await registry.register_event(checked)).success
    assert await registry.get_event("parts.check.requested") == checked
    assert await registry.get_events_by_topic("action-results") == []
    assert (await registry.register_schema(schema)).success
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await registry.register_schema(schema)
    assert (await registry.get_schema("check_v1")).json_schema == {"type": "object"}
    assert await registry.get_schema("check_v1", "2.0.0") is None
    assert await registry.refresh_heartbeat("a-1") is False
    assert (await registry.register_agent(agent)).success
    assert await registry.refresh_heartbeat("a-1") is True
    found = await registry.get_agent("a-1")
    assert (found.name, found.consumed_events) == ("parts-worker:1.0.0", ["parts.check.requested"])
    assert [a.name for a in await registry.discover_agents("parts.check.requested")] == ["parts-worker"]
    assert [a.agent_id for a in await registry.discover(["check"])] == ["a-1"]
    assert await registry.query_agents(name="nobody") == []
    assert await registry.deregister_agent("a-1") is True
    assert await registry.deregister_agent("a-1") is False
    assert await registry.get_agent("a-1") is None


async def test_working_memory(platform):
    memory = platform.memory
    for value in (None, False, 0, [], {"aKey": {"b_key": None}}):
        assert await memory.store("a:b/c", value, plan_id="plan 1", **OWNER)
        assert await memory.retrieve("a:b/c", plan_id="plan 1", **OWNER) == value
    assert await memory.retrieve("nothing", **OWNER) is None
    assert (await memory.delete_key(key="a:b/c", plan_id="plan 1", **OWNER)).deleted
    assert (await memory.cleanup_plan("plan 1", **OWNER)).count_deleted == 0


async def test_plans_and_sessions(memory):
    plan = await memory.create_plan("plan-1", "goal", {"aKey": 1}, **SERVICE_OWNER, session_id="s-1")
    assert (plan.status, plan.goal_data) == ("running", {"aKey": 1})
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await memory.create_plan("plan-1", "goal", {}, **SERVICE_OWNER)
    assert await memory.list_plans(**SERVICE_OWNER, status="running", session_id="s-1") == [plan]
    assert await memory.list_plans(**SERVICE_OWNER, status="completed") == []
    assert (await memory.create_session("s-1", **SERVICE_OWNER)).metadata == {}
    assert [s.session_id for s in await memory.list_sessions(**SERVICE_OWNER)] == ["s-1"]
    assert await memory.get_relevant_skills("a", "b", **SERVICE_OWNER) == []
    assert await memory.delete_plan("plan-1", **SERVICE_OWNER) is True
    assert await memory.delete_plan("plan-1", **SERVICE_OWNER) is False


async def test_a_plan_context_is_restored_as_it_was_saved(platform):
    plan = PlanContext(
        plan_id="plan-1",
        goal_event="goal",
        goal_data={"aKey": 1},
        response_event="goal.done",
        status="running",
        state_machine={"start": StateConfig(state_name="start", description="")},
        current_state="start",
        results={"some_step": {"aKey": None}},
        correlation_id="c-1",
        session_id="s-1",
        **OWNER,
        _context=platform,
    )
    await plan.save()
    for restored in (
        await PlanContext.restore("plan-1", platform, **OWNER),
        await PlanContext.restore_by_correlation("c-1", platform, **OWNER),
    ):
        assert restored.to_dict() == plan.to_dict()
    assert await PlanContext.restore_by_correlation("c-2", platform, **OWNER) is None
    updated = await platform.memory._client.update_plan_context("plan-1", **SERVICE_OWNER, current_state="done")
    assert (updated.current_state, updated.state) == ("done", plan.to_dict())


async def test_a_task_context_is_restored_as_it_was_saved(platform):
    task = TaskContext(
        task_id="task-1",
        event_type="check.requested",
        plan_id=None,
        data={"aKey": 1},
        response_event="check.completed",
        response_topic="action-results",
        state={"some_key": 0},
        **OWNER,
        _context=platform,
        sub_tasks={"sub-1": SubTaskInfo("sub-1", "stock.requested", "stock.completed", "pending", "group-1")},
    )
    await task.save()
    restored = await TaskContext.restore("task-1", platform, **OWNER)
    by_sub_task = await platform.memory.get_task_by_subtask("sub-1", **OWNER)
    for name in (
        "task_id",
        "event_type",
        "plan_id",
        "data",
        "response_event",
        "state",
        "tenant_id",
        "user_id",
        "sub_tasks",
    ):
        assert getattr(restored, name) == getattr(task, name)
    assert (by_sub_task.task_id, by_sub_task.tenant_id, by_sub_task.user_id) == ("task-1", "acme", "alice")
    assert await platform.memory.get_task_by_subtask("sub-2", **OWNER) is None
    assert await platform.memory.delete_task_context("task-1", **OWNER) is True
    assert await platform.memory.delete_task_context("task-1", **OWNER) is False
    assert await TaskContext.restore("task-1", platform, **OWNER) is None
