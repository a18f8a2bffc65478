import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from soorma_common.models import PlanSummary

from planner.models import PlanContext, Session, StoredPlan
from tests.accounts.factories import closing_connection, make_workspace
from tests.planner.calls import Agent, a_plan, a_plan_context, an_agent, code, publish
from tracker.models import LogRow, Plan

pytestmark = pytest.mark.django_db


def ids(response):
    assert response.status_code == 200
    return [item["plan_id"] for item in response.json()]


def test_a_plan_is_filed_and_followed():
    agent = an_agent()
    filed = agent.post(
        "/memory/plans", a_plan(sessionId="s-1", parentPlanId="p-0", goalData={"vehicleId": {"x_y": None}})
    )
    assert filed.status_code == 201
    summary = PlanSummary.model_validate_json(filed.content)
    assert (summary.plan_id, summary.status, summary.tenant_id, summary.user_id) == (
        "plan-1",
        "running",
        "acme",
        "alice",
    )
    assert (summary.session_id, summary.parent_plan_id) == ("s-1", "p-0")
    assert summary.goal_data == {"vehicleId": {"x_y": None}}
    plan = Plan.objects.get()
    assert (plan.plan_id, plan.tenant_id, plan.goal_event, plan.session_id) == (
        "plan-1",
        "acme",
        "maintenance.goal",
        "s-1",
    )
    assert json.loads(plan.goal_data) == {"vehicleId": {"x_y": None}}
    assert agent.get("/memory/plans").json() == [json.loads(filed.content)]


def test_snake_case_is_as_good():
    agent = an_agent()
    body = {"plan_id": "plan-1", "goal_event": "g", "goal_data": {"goalData": 1}, "unknown_member": 1}
    assert agent.post("/memory/plans", body).json()["goal_data"] == {"goalData": 1}


def test_a_second_record_is_a_conflict_and_leaves_nothing():
    agent = an_agent()
    agent.post("/memory/plans", a_plan())
    rows = LogRow.objects.count()
    assert code(agent.post("/memory/plans", a_plan(goalEvent="another"))) == (409, "conflict")
    assert LogRow.objects.count() == rows
    assert StoredPlan.objects.get().goal_event == "maintenance.goal"


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_files_the_plan():
    agent = an_agent()
    with ThreadPoolExecutor(max_workers=8) as pool:
        calls = [pool.submit(closing_connection, agent.post, "/memory/plans", a_plan()) for _ in range(16)]
        statuses = sorted(call.result(timeout=60).status_code for call in calls)
    assert statuses == [201] + [409] * 15
    assert (StoredPlan.objects.count(), Plan.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    "body",
    [
        a_plan(""),
        a_plan("p" * 256),
        a_plan("a\x00b"),
        a_plan(None),
        a_plan(7),
        a_plan(goalData="text"),
        a_plan(goalData=None),
        a_plan(goalEvent=""),
        a_plan(sessionId="s" * 256),
        "text",
        [],
        None,
        {},
    ],
)
def test_what_does_not_fit_is_refused(body):
    agent = an_agent()
    assert code(agent.post("/memory/plans", body)) == (422, "invalid")
    assert (StoredPlan.objects.count(), Plan.objects.count()) == (0, 0)


def test_plans_are_listed_newest_first_by_status_and_session():
    agent = an_agent()
    for number in range(4):
        agent.post("/memory/plans", a_plan(f"plan-{number}", sessionId=f"s-{number % 2}"))
    agent.post("/memory/plan-context", a_plan_context("plan-0", status="completed"))
    agent.post("/memory/plan-context", a_plan_context("plan-1", status="paused"))
    agent.post("/memory/plan-context", a_plan_context("plan-2", status="running"))
    assert ids(agent.get("/memory/plans")) == ["plan-3", "plan-2", "plan-1", "plan-0"]
    assert ids(agent.get("/memory/plans", limit=2)) == ["plan-3", "plan-2"]
    assert ids(agent.get("/memory/plans", status="running")) == ["plan-3", "plan-2"]
    assert ids(agent.get("/memory/plans", status="completed")) == ["plan-0"]
    assert ids(agent.get("/memory/plans", status="paused", session_id="s-1")) == ["plan-1"]
    assert ids(agent.get("/memory/plans", status="no such status")) == []
    assert ids(agent.get("/memory/plans", session_id="s-0")) == ["plan-2", "plan-0"]
    for limit in (0, 201, "many"):
        assert code(agent.get("/memory/plans", limit=limit)) == (422, "invalid")


def test_listing_costs_the_same_for_one_and_for_many(django_assert_num_queries):
    agent = an_agent()
    for number in range(20):
        agent.post("/memory/plans", a_plan(f"plan-{number}"))
        if number in (0, 19):
            with django_assert_num_queries(1):
                assert len(ids(agent.get("/memory/plans", status="running"))) == number + 1


def test_plans_belong_to_workspace_tenant_and_user():
    alice = an_agent()
    alice.post("/memory/plans", a_plan())
    for other in (an_agent(), Agent(alice.workspace, "acme", "bob"), Agent(alice.workspace, "other", "alice")):
        assert ids(other.get("/memory/plans")) == []
        assert code(other.delete("/memory/plans/plan-1")) == (404, "not-found")
    assert ids(Agent(alice.workspace).get("/memory/plans")) == ["plan-1"]
    assert ids(Agent(alice.workspace, "acme").get("/memory/plans")) == ["plan-1"]
    assert Agent(alice.workspace, "acme", "bob").post("/memory/plans", a_plan()).status_code == 201


def test_deleting_forgets_record_and_context_and_keeps_the_plan():
    agent = an_agent()
    agent.post("/memory/plans", a_plan("a/b"))
    agent.post("/memory/plan-context", a_plan_context("a/b"))
    deleted = agent.delete("/memory/plans/a/b")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (StoredPlan.objects.count(), PlanContext.objects.count(), Plan.objects.count()) == (0, 0, 1)
    assert code(agent.delete("/memory/plans/a/b")) == (404, "not-found")


def test_filing_a_plan_is_an_interaction_of_its_session():
    agent = an_agent()
    for name in ("s-1", "s-2"):
        agent.post("/memory/sessions", {"sessionId": name})
    agent.post("/memory/plans", a_plan(sessionId="s-1"))
    assert [s["session_id"] for s in agent.get("/memory/sessions").json()] == ["s-1", "s-2"]
    assert Session.objects.count() == 2


def test_an_unbound_key_files_for_the_owner_of_the_goal():
    workspace = make_workspace()
    planner = Agent(workspace)
    goal = publish(workspace, "maintenance.goal", data={"vehicle": "v1"}).correlation_id
    publish(workspace, "maintenance.goal", tenant_id="other", user_id="oscar", data={"vehicle": "v2"})
    by_correlation = planner.post("/memory/plans", a_plan(goal)).json()
    assert (by_correlation["tenant_id"], by_correlation["user_id"]) == ("acme", "alice")
    by_goal = planner.post("/memory/plans", a_plan("an id of its own", goalData={"vehicle": "v2"})).json()
    assert (by_goal["tenant_id"], by_goal["user_id"]) == ("other", "oscar")
    unknown = planner.post("/memory/plans", a_plan("unheard of", goalData={"vehicle": "v3"})).json()
    assert (unknown["tenant_id"], unknown["user_id"]) == ("", "")


def test_a_key_bound_to_a_tenant_learns_only_its_users():
    workspace = make_workspace()
    planner = Agent(workspace, "acme")
    for tenant, user in (("acme", "alice"), ("other", "oscar")):
        publish(workspace, "maintenance.goal", tenant_id=tenant, user_id=user, correlation_id="goal-1")
    filed = planner.post("/memory/plans", a_plan("goal-1")).json()
    assert (filed["tenant_id"], filed["user_id"]) == ("acme", "alice")
