"""The main job, end to end: a goal, a planner and workers of the real SDK, and what its tracker client is told."""

import asyncio
import contextlib
from uuid import uuid4

import pytest
from soorma import EventClient, EventTopic
from soorma.memory.client import MemoryServiceClient
from soorma.tracker.client import TrackerServiceClient

from tests.e2e.company import EXAMPLES, Company
from tests.e2e.plain import Tenant
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until, wait_until_async

FINDS = ["slot.find.requested", "technician.find.requested", "bay.find.requested"]
WHO = ("acme", "alice")  # what the tracker client asks for; it goes by the key


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request):
    with ServerProcess(server=request.param) as process:
        yield process


@pytest.fixture(scope="module")
def tenant(site):
    with contextlib.closing(Tenant(site, "fleet")) as one:
        yield one


@pytest.fixture(scope="module")
def company(site, tenant, tmp_path_factory):
    """The example's planner and scheduler; parts worker and depot can be held up."""
    company = Company(site, tenant.key, tmp_path_factory.mktemp("gates"))
    try:
        company.hire(
            planner=(EXAMPLES / "fleet_planner.py",),
            scheduler=(EXAMPLES / "scheduling_worker.py",),
            parts=company.gated("parts-worker", "parts.check.requested"),
            depot=company.gated("depot-worker", *FINDS),
        )
        yield company
    finally:
        company.dismiss()


async def reached(tracker, plan_id, *, seconds=30, **wanted):
    """Wait until the plan's tasks are in these states: event type with underscores = state."""
    wanted = {name.replace("_", "."): state for name, state in wanted.items()}

    async def states():
        found = {task.event_type: task.state.value for task in await tracker.get_plan_tasks(plan_id, *WHO)}
        return found if found == wanted else None

    await wait_until_async(states, seconds, f"tasks {wanted}")


async def ask(client, plan_id, **data):
    await client.publish(
        event_type="maintenance.goal",
        topic=EventTopic.ACTION_REQUESTS,
        data={"vehicle": "van-7", "part": "brake pads", **data},
        correlation_id=plan_id,
        response_event="maintenance.completed",
        response_topic="action-results",
        user_id="alice",
        session_id="talk-1",
    )


async def test_goal_plan_tasks_results_answer(site, tenant, company):
    plan_id, answer = f"goal-{uuid4()}", asyncio.get_running_loop().create_future()
    client = EventClient(event_service_url=site.base_url, source="client", auth_token=tenant.key, tenant_id="acme")

    @client.on_event("maintenance.completed")
    async def answered(event):
        answer.set_result(event)

    async with client, TrackerServiceClient(base_url=site.base_url, auth_token=tenant.key) as tracker:
        await client.connect([EventTopic.ACTION_RESULTS])
        assert client.is_connected
        company.close_gate("parts.check.requested", *FINDS)
        await ask(client, plan_id)

        await reached(tracker, plan_id, parts_check_requested="running")
        plan = await tracker.get_plan_progress(plan_id, *WHO)
        assert (plan.status, plan.task_count, plan.completed_tasks) == ("in_progress", 1, 0)

        company.open_gate("parts.check.requested")
        finds = {find.replace(".", "_"): "running" for find in FINDS}
        await reached(
            tracker, plan_id, parts_check_requested="completed", schedule_service_requested="delegated", **finds
        )
        plan = await tracker.get_plan_progress(plan_id, *WHO)
        assert (plan.status, plan.current_state, plan.task_count, plan.completed_tasks) == (
            "in_progress", "scheduling", 5, 1,
        )  # fmt: skip
        assert tenant.plan(plan_id)["tasks"]["parts-check"]["state"] == "completed"
        parent = tenant.plan(plan_id)["tasks"]["schedule-service"]["task_id"]
        assert {t["parent_task_id"] for t in tenant.tasks(plan_id) if t["event_type"] in FINDS} == {parent}
        group_id = tenant.group_of(parent)

        for done, find in enumerate(FINDS):
            await counted(tracker, group_id, parent, plan_id, done)
            company.open_gate(find)
        await counted(tracker, group_id, parent, plan_id, 3)

        event = await asyncio.wait_for(answer, 30)
        assert event.correlation_id == plan_id
        assert event.data["plan_id"] == plan_id
        assert sorted(event.data["result"]["scheduling"]) == sorted(FINDS)
        await asked_afterwards(tracker, tenant, plan_id, company)


async def counted(tracker, group_id, parent, plan_id, done):
    """Wait until the delegation group has so many completed tasks of three."""

    async def group():
        group = await tracker.get_delegation_group(group_id, *WHO)
        return group if group and group.completed_tasks == done else None

    group = await wait_until_async(group, 20, f"{done} of 3 sub-tasks")
    assert (group.parent_task_id, group.plan_id, group.total_tasks) == (parent, plan_id, 3)


async def asked_afterwards(tracker, tenant, plan_id, company):
    """Every query of the SDK on the finished plan."""

    async def finished():
        plan = await tracker.get_plan_progress(plan_id, *WHO)
        return plan if plan.status == "completed" else None

    plan = await wait_until_async(finished, 20, "a completed plan")
    assert (plan.task_count, plan.completed_tasks, plan.failed_tasks) == (5, 5, 0)
    assert plan.completed_at >= plan.started_at

    tasks = await tracker.get_plan_tasks(plan_id, *WHO)
    assert [task.event_type for task in tasks] == ["parts.check.requested", "schedule.service.requested", *FINDS]
    assert {task.state.value for task in tasks} == {"completed"}
    assert all(task.completed_at >= task.started_at and task.duration_seconds >= 0 for task in tasks)

    timeline = await tracker.get_plan_timeline(plan_id, *WHO)
    said = [event.event_type for event in timeline.events]
    assert said[:3] == ["maintenance.goal", "parts.check.requested", "parts.check.completed"]
    assert said[-2:] == ["schedule.service.completed", "maintenance.completed"]
    assert sorted(said) == sorted(
        [
            "maintenance.goal",
            "parts.check.requested",
            "parts.check.completed",
            "schedule.service.requested",
            "schedule.service.completed",
            "maintenance.completed",
            *FINDS,
            *(find.replace("requested", "completed") for find in FINDS),
        ]
    )
    assert timeline.trace_id == plan_id

    [parts_id] = {task["agent_id"] for task in tenant.tasks(plan_id) if task["event_type"] == "parts.check.requested"}
    for agent, least in (("parts-worker", 1), (parts_id, 1), ("depot-worker", 3), ("scheduling-worker", 1)):
        count = sum(agent in {task["agent"], task["agent_id"]} for task in tenant.all_tasks())  # of other tests as well
        assert count >= least
        metrics = await tracker.query_agent_metrics(agent, "1h", *WHO)
        assert (metrics.agent_id, metrics.period, metrics.total_tasks, metrics.completed_tasks) == (
            agent, "1h", count, count,
        )  # fmt: skip
        assert (metrics.failed_tasks, metrics.success_rate) == (0, 1.0)
        assert metrics.avg_duration_seconds >= 0

    [by_session] = await tracker.get_session_plans("talk-1", *WHO)
    assert (by_session.plan_id, by_session.goal_event, by_session.status) == (
        plan_id, "maintenance.goal", "completed",
    )  # fmt: skip
    assert (by_session.session_id, by_session.trace_id) == ("talk-1", plan_id)


async def test_a_plan_below_another(site, tenant):
    """The SDK's own memory client files it; nobody works on it."""
    parent, child = f"parent-{uuid4()}", f"child-{uuid4()}"
    async with (
        MemoryServiceClient(base_url=site.base_url, auth_token=tenant.key) as memory,
        TrackerServiceClient(base_url=site.base_url, auth_token=tenant.key) as tracker,
    ):
        await memory.create_plan(parent, "big.goal", {}, *WHO)
        await memory.create_plan(child, "small.goal", {}, *WHO, session_id="talk-2", parent_plan_id=parent)
        assert await tracker.get_sub_plans(child, *WHO) == []
        [found] = await tracker.get_sub_plans(parent, *WHO)
        assert (found.plan_id, found.parent_plan_id, found.goal_event) == (child, parent, "small.goal")
        assert [plan.plan_id for plan in await tracker.get_session_plans("talk-2", *WHO)] == [child]


async def test_what_nobody_knows_is_none_or_empty(site, tenant):
    async with TrackerServiceClient(base_url=site.base_url, auth_token=tenant.key) as tracker:
        assert await tracker.get_plan_progress("nothing", *WHO) is None
        assert await tracker.get_plan_tasks("nothing", *WHO) == []
        assert await tracker.get_plan_timeline("nothing", *WHO) is None
        assert await tracker.query_agent_metrics("nobody", "30d", *WHO) is None
        assert await tracker.get_sub_plans("nothing", *WHO) == []
        assert await tracker.get_session_plans("nothing", *WHO) == []
        assert await tracker.get_delegation_group("nothing", *WHO) is None


def test_a_planner_that_is_away_gets_its_result_when_it_is_back(site, tenant, company):
    plan_id, part = f"goal-{uuid4()}", f"part-{uuid4()}"
    company.close_gate(part)
    tenant.publish(
        "action-requests", "maintenance.goal", {"vehicle": "van-8", "part": part}, source="somebody",
        correlation_id=plan_id, response_event="maintenance.completed",
    )  # fmt: skip
    company["parts"].wait_for_output(f"got {part}.")
    wait_until(lambda: tenant.plan(plan_id)["current_state"] == "parts_check", 20)
    company["planner"].kill()
    company.open_gate(part)
    wait_until(lambda: tenant.plan(plan_id)["tasks"]["parts-check"]["state"] == "completed", 20)
    assert tenant.plan(plan_id)["status"] == "in_progress"
    company["planner"].start()
    wait_until(
        lambda: tenant.plan(plan_id)["status"] == "completed", 30, lambda: f"{tenant.plan(plan_id)}\n{company.output()}"
    )
    assert len(tenant.tasks(plan_id)) == 5
