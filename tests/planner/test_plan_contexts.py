import json

import pytest
from soorma_common.models import PlanContextResponse

from planner.models import PlanContext, PlanCorrelation
from tests.accounts.factories import make_workspace
from tests.planner.calls import Agent, a_plan, a_plan_context, a_task_context, an_agent, code, publish
from tracker.models import Plan

pytestmark = pytest.mark.django_db
PATH = "/memory/plan-context"


def test_a_context_is_stored_and_says_what_state_the_plan_is_in():
    agent = an_agent()
    state = {"status": "paused", "stateMachine": {"a_b": {"onEvent": None}}, "parent_plan_id": "p-0"}
    saved = agent.post(PATH, a_plan_context(state=state))
    assert saved.status_code == 200
    context = PlanContextResponse.model_validate_json(saved.content)
    assert (context.plan_id, context.tenant_id, context.session_id) == ("plan-1", "acme", "session-1")
    assert (context.goal_event, context.response_event, context.current_state) == (
        "maintenance.goal",
        "maintenance.completed",
        "parts_check",
    )
    assert (context.state, context.correlation_ids) == (state, ["plan-1", "goal-1"])
    assert agent.get(f"{PATH}/plan-1").content == saved.content
    plan = Plan.objects.get()
    assert (plan.state, plan.current_state, plan.parent_plan_id, plan.governed) == (
        "paused",
        "parts_check",
        "p-0",
        True,
    )


def test_storing_again_keeps_goal_session_and_response_event():
    agent = an_agent()
    first = agent.post(PATH, a_plan_context()).json()
    second = agent.post(
        PATH,
        a_plan_context(
            goalEvent="other.goal",
            goalData={},
            sessionId=None,
            responseEvent=None,
            state={"status": "completed"},
            currentState="done",
            correlationIds=["c-2"],
        ),
    ).json()
    changed = {"state": {"status": "completed"}, "current_state": "done", "correlation_ids": ["c-2"]}
    assert second == first | changed | {"updated_at": second["updated_at"]}
    assert second["updated_at"] > first["updated_at"]
    assert agent.get(f"{PATH}/by-correlation/c-2").status_code == 200
    assert code(agent.get(f"{PATH}/by-correlation/goal-1")) == (404, "not-found")
    assert Plan.objects.get().state == "completed"


def test_an_update_changes_what_it_names():
    agent = an_agent()
    first = agent.post(PATH, a_plan_context()).json()
    second = agent.put(f"{PATH}/plan-1", {"state": {"status": "paused", "n": 10**30}}).json()
    assert second == first | {"state": {"status": "paused", "n": 10**30}, "updated_at": second["updated_at"]}
    third = agent.put(f"{PATH}/plan-1", {"currentState": "waiting", "correlation_ids": ["c-3"]}).json()
    assert third == second | {"current_state": "waiting", "correlation_ids": ["c-3"], "updated_at": third["updated_at"]}
    assert agent.get(f"{PATH}/by-correlation/c-3").json() == third
    assert code(agent.get(f"{PATH}/by-correlation/goal-1")) == (404, "not-found")
    assert (Plan.objects.get().state, Plan.objects.get().current_state) == ("paused", "waiting")
    assert agent.put(f"{PATH}/plan-1", {}).json()["state"] == second["state"]
    assert code(agent.put(f"{PATH}/plan-2", {"state": {}})) == (404, "not-found")


def test_blank_and_repeated_correlation_ids_are_returned_and_not_looked_up():
    agent = an_agent()
    ids = ["plan-1", "", "plan-1", "a/b:c"]
    assert agent.post(PATH, a_plan_context(correlationIds=ids)).json()["correlation_ids"] == ids
    assert agent.get(f"{PATH}/by-correlation/a/b:c").status_code == 200
    assert PlanCorrelation.objects.count() == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"planId": "a\x00b"},
        {"planId": "p" * 256},
        {"goalEvent": None},
        {"state": []},
        {"state": "running"},
        {"correlationIds": [1]},
        {"correlationIds": ["c" * 256]},
        {"correlationIds": ["\x00"]},
        {"currentState": "\x00"},
    ],
)
def test_what_does_not_fit_is_refused(fields):
    agent = an_agent()
    assert code(agent.post(PATH, a_plan_context() | fields)) == (422, "invalid")
    assert (PlanContext.objects.count(), Plan.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"status": 7},
        {"status": None},
        {"status": "no such state"},
        {"status": "s" * 300},
        {"correlation_id": "\x00"},
        {"parent_plan_id": ["p"]},
        {"status": "running", "results": {"text": "\x00"}},
    ],
)
def test_a_strange_state_is_stored_as_it_is(state):
    agent = an_agent()
    assert json.loads(agent.post(PATH, a_plan_context(state=state)).content)["state"] == state


def test_contexts_belong_to_workspace_tenant_and_user():
    alice = an_agent()
    alice.post(PATH, a_plan_context())
    for other in (an_agent(), Agent(alice.workspace, "acme", "bob"), Agent(alice.workspace, "other", "alice")):
        assert code(other.get(f"{PATH}/plan-1")) == (404, "not-found")
        assert code(other.get(f"{PATH}/by-correlation/goal-1")) == (404, "not-found")
        assert code(other.put(f"{PATH}/plan-1", {"state": {}})) == (404, "not-found")
    for insider in (Agent(alice.workspace), Agent(alice.workspace, "acme")):
        assert insider.get(f"{PATH}/by-correlation/goal-1").json()["plan_id"] == "plan-1"


def test_an_unbound_key_stores_for_whom_the_state_names():
    workspace = make_workspace()
    planner, alice = Agent(workspace), Agent(workspace, "acme", "alice")
    state = {"status": "running", "tenant_id": "acme", "user_id": "alice"}
    assert planner.post(PATH, a_plan_context(state=state)).json()["tenant_id"] == "acme"
    assert planner.post(PATH, a_plan_context(state={"status": "paused"})).json()["tenant_id"] == "acme"
    assert alice.get(f"{PATH}/plan-1").json()["state"] == {"status": "paused"}
    assert (PlanContext.objects.count(), Plan.objects.get().state) == (1, "paused")


def test_a_bound_key_does_not_believe_the_state():
    alice = an_agent()
    state = {"status": "running", "tenant_id": "other", "user_id": "oscar"}
    assert alice.post(PATH, a_plan_context(state=state)).json()["tenant_id"] == "acme"


def test_a_made_up_task_id_leads_to_its_plan():
    """The worker's answer to a delegated task carries an id that only its stored context explains."""
    agent = an_agent()
    workspace = agent.workspace
    agent.post("/memory/plans", a_plan("plan-1"))
    publish(
        workspace,
        "parts.check.requested",
        correlation_id="plan-1",
        source="planner",
        data={"part": "brake"},
        response_event="parts.check.completed",
    )
    agent.post(PATH, a_plan_context(correlationIds=["plan-1"]))
    agent.post("/memory/task-context", a_task_context("made-up"))
    by_alias = agent.get(f"{PATH}/by-correlation/made-up")
    assert by_alias.json()["plan_id"] == "plan-1"
    for sub_task in ("sub-1", "sub-2"):
        assert code(agent.get(f"{PATH}/by-correlation/{sub_task}")) == (404, "not-found")
    assert agent.delete("/memory/task-context/made-up").status_code == 204
    assert agent.get(f"{PATH}/by-correlation/made-up").content == by_alias.content
    for other in (Agent(workspace, "other", "alice"), Agent(workspace, "acme", "bob"), an_agent()):
        assert code(other.get(f"{PATH}/by-correlation/made-up")) == (404, "not-found")


def test_a_sub_task_that_delegates_further_is_no_alias():
    agent = an_agent()
    agent.post("/memory/plans", a_plan("plan-1"))
    publish(agent.workspace, "parts.check.requested", correlation_id="plan-1", data={"part": "brake"})
    agent.post(PATH, a_plan_context(correlationIds=["plan-1"]))
    agent.post("/memory/task-context", a_task_context("made-up", subTasks=["sub-1"]))
    publish(agent.workspace, "stock.requested", correlation_id="sub-1", data={"task_id": "sub-1", "n": 1})
    nested = a_task_context(
        "sub-1", eventType="stock.requested", data={"task_id": "sub-1", "n": 1}, subTasks=["deep-1"]
    )
    agent.post("/memory/task-context", nested)
    assert code(agent.get(f"{PATH}/by-correlation/sub-1")) == (404, "not-found")
    assert agent.get(f"{PATH}/by-correlation/made-up").status_code == 200


def test_the_lookup_for_each_result_is_one_or_two_queries(django_assert_num_queries):
    agent = an_agent()
    agent.post(PATH, a_plan_context())
    for number in range(30):
        agent.post(PATH, a_plan_context(f"more-{number}", correlationIds=[f"more-{number}"]))
    with django_assert_num_queries(1):
        assert agent.get(f"{PATH}/by-correlation/goal-1").status_code == 200
    with django_assert_num_queries(2):
        assert agent.get(f"{PATH}/by-correlation/nothing").status_code == 404
