"""Workers of the real SDK that delegate: one sub-task, two levels, three in parallel.

The planner's own task that is delegated is in test_sdk_queries.py.
"""

import contextlib
from uuid import uuid4

import pytest
from soorma.tracker.client import TrackerServiceClient

from tests.e2e.company import AGENTS, EXAMPLES, Company
from tests.e2e.plain import Tenant
from tests.services.waiting import wait_until

ONE, TWO, THREE = "one.requested", "two.requested", "three.requested"
BOOK, FINDS = "schedule.service.requested", ["slot.find.requested", "technician.find.requested", "bay.find.requested"]


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "delegation")) as one:
        yield one


@pytest.fixture(scope="module")
def company(server, tenant, tmp_path_factory):
    """One passes to two, two to three; the scheduler asks the depot for three things at once."""
    company = Company(server, tenant.key, tmp_path_factory.mktemp("gates"))
    try:
        company.hire(
            one=(AGENTS / "passing_worker.py", "one-worker", ONE, TWO),
            two=(AGENTS / "passing_worker.py", "two-worker", TWO, THREE),
            three=company.gated("three-worker", THREE),
            scheduler=(EXAMPLES / "scheduling_worker.py",),
            depot=company.gated("depot-worker", *FINDS),
        )
        yield company
    finally:
        company.dismiss()


@pytest.fixture
def plan_id():
    return f"plan-{uuid4().hex}"


def reached(tenant, plan_id, company, **wanted):
    """Wait until the plan's tasks are in these states: event type without its end = state."""

    def states():
        found = {task["event_type"].removesuffix(".requested"): task["state"] for task in tenant.tasks(plan_id)}
        return found == {name.replace("_", "."): state for name, state in wanted.items()}

    wait_until(states, 20, lambda: f"{wanted}, not {tenant.states(plan_id)}\n{company.output()}")


def parents(tenant, plan_id):
    """The type of each task's parent, by the task's own type."""
    tasks = {task["task_id"]: task for task in tenant.tasks(plan_id)}
    return {
        task["event_type"]: tasks[task["parent_task_id"]]["event_type"] if task["parent_task_id"] else None
        for task in tasks.values()
    }


def plan_completes(tenant, plan_id, count):
    wait_until(lambda: tenant.plan(plan_id)["state"] == "completed", 20, lambda: tenant.states(plan_id))
    plan = tenant.plan(plan_id)
    assert (plan["task_count"], plan["completed_tasks"]) == (count, count)
    assert [row["seq"] for row in tenant.log(plan_id)] == list(range(1, plan["seq"] + 1))
    assert not [row for row in tenant.log(plan_id) if row["refused"]]


def test_one_sub_task(tenant, company, plan_id):
    company.close_gate(plan_id)
    tenant.ask(TWO, {"label": plan_id}, plan_id=plan_id)
    reached(tenant, plan_id, company, two="delegated", three="running")
    assert parents(tenant, plan_id) == {TWO: None, THREE: TWO}
    assert tenant.plan(plan_id)["state"] == "in_progress"
    company.open_gate(plan_id)
    reached(tenant, plan_id, company, two="completed", three="completed")
    plan_completes(tenant, plan_id, 2)


@pytest.mark.parametrize("names_task", [True, False])
def test_two_levels(tenant, company, plan_id, names_task):
    """Also when the request names no task, so that its worker makes an id up."""
    company.close_gate(plan_id)
    if names_task:
        tenant.ask(ONE, {"label": plan_id}, plan_id=plan_id)
    else:
        tenant.publish("action-requests", ONE, {"label": plan_id}, plan_id=plan_id, response_event="one.completed")
    reached(tenant, plan_id, company, one="delegated", two="delegated", three="running")
    assert parents(tenant, plan_id) == {ONE: None, TWO: ONE, THREE: TWO}
    company.open_gate(plan_id)
    reached(tenant, plan_id, company, one="completed", two="completed", three="completed")
    plan_completes(tenant, plan_id, 3)


async def test_three_in_parallel_with_fan_in(server, tenant, company, plan_id):
    company.close_gate(*FINDS)
    asked = tenant.ask(BOOK, {"vehicle": plan_id}, plan_id=plan_id)["data"]["task_id"]
    finds = {find.removesuffix(".requested").replace(".", "_"): "running" for find in FINDS}
    reached(tenant, plan_id, company, schedule_service="delegated", **finds)
    assert parents(tenant, plan_id) == {BOOK: None, **dict.fromkeys(FINDS, BOOK)}
    group_id = tenant.group_of(asked)
    async with TrackerServiceClient(base_url=server.base_url, auth_token=tenant.key) as tracker:
        for done, find in enumerate(FINDS):
            wait_until(lambda: tenant.plan(plan_id)["completed_tasks"] == done)  # noqa: B023
            group = await tracker.get_delegation_group(group_id, "acme", "alice")
            assert (group.parent_task_id, group.plan_id) == (asked, plan_id)
            assert (group.total_tasks, group.completed_tasks) == (3, done)
            assert tenant.task(asked)["state"] == "delegated"
            company.open_gate(find)
        plan_completes(tenant, plan_id, 4)
        assert (await tracker.get_delegation_group(group_id, "acme", "alice")).completed_tasks == 3
