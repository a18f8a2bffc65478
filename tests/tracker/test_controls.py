"""What operators do to plans: cancel, pause, resume."""

import json

import pytest

from tests.planner.calls import Agent as Caller
from tests.planner.calls import code
from tests.tracker.factories import everything, plan_of, states
from tracker.bus.announce import announcements
from tracker.changes import ContextStored, Handover, PlanMove
from tracker.ledger import record
from tracker.models import LogRow, QueueGroup


def order(agent, plan_id, verb, **body):
    return agent.post(f"/plans/{plan_id}/{verb}", body)


def hand_over(run, *task_ids):
    """Try to give the requests of these tasks to a worker; gives how many it may be sent."""
    rows = LogRow.objects.filter(kind="message", topic="action-requests", task__task_id__in=task_ids).order_by("id")
    group, _ = QueueGroup.objects.get_or_create(
        workspace=run.workspace, name="worker", defaults={"seen_at": "2026-01-01T00:00Z"}
    )
    keys = [row.pk for row in rows]
    change = run.change(Handover, row_ids=keys, name="worker", agent_id="w1", group_id=group.pk, cursor=max(keys))
    return len(run.record(change)[0].value)


def test_cancelling_a_plan_ends_all_that_is_open_in_it(run, reporter):
    plan_id, (first, second, third) = run.plan(3)
    run.result(plan_id, first)
    response = order(reporter, plan_id, "cancel", reason="wrong vehicle")
    assert response.status_code == 200
    assert response.json()["state"] == "cancelled"
    assert sorted(states(run, plan_id).values()) == ["cancelled", "cancelled", "completed"]
    plan = plan_of(run, plan_id)
    assert (plan.state, plan.open_tasks, plan.cancelled_tasks) == ("cancelled", 0, 2)
    assert run.result(plan_id, second).result == "refused"
    run.request(plan_id, "late")
    assert plan_of(run, plan_id).state == "cancelled"
    assert hand_over(run, second, third) == 0


def test_agents_are_told_of_what_people_cancel(run, reporter):
    plan_id, (task_id,) = run.plan(1)
    batch = record([run.change(PlanMove, plan_id=plan_id, to="cancelled", reason="stop")])
    told = [(word.topic, json.loads(word.frame)) for row in batch.rows for word in announcements(row)]
    assert [(topic, envelope["type"]) for topic, envelope in told] == [
        ("plan-events", "plan.state_changed"),
        ("system-events", "plan.cancelled"),
        ("task-events", "task.state_changed"),
        ("system-events", "task.cancelled"),
    ]
    assert len({envelope["id"] for _, envelope in told}) == 4
    assert told[3][1]["data"] == {
        "task_id": task_id, "plan_id": plan_id, "previous_state": "pending", "new_state": "cancelled", "version": 2,
        "seq": told[2][1]["data"]["seq"], "by": "agent:test", "reason": "stop",
    }  # fmt: skip


def test_an_agent_that_cancels_is_not_told_so(run):
    plan_id, _ = run.plan(1)
    batch = record([run.message("system-events", "plan.cancelled", {"plan_id": plan_id}, plan_id=plan_id)])
    words = [word for row in batch.rows for word in announcements(row)]
    assert [word.topic for word in words] == ["plan-events"]


def test_a_pause_holds_back_what_no_agent_has_and_resuming_offers_it_again(run, reporter):
    plan_id, (first, second) = run.plan(2)
    assert hand_over(run, first) == 1
    assert order(reporter, plan_id, "pause").json()["state"] == "paused"
    assert hand_over(run, second) == 0
    run.result(plan_id, first)
    assert states(run, plan_id) == {"parts-check": "completed", "parts-check-2": "pending"}
    batch = record([run.change(PlanMove, plan_id=plan_id, to="in_progress")])
    assert [(d.type, d.again) for d in batch.messages] == [("parts.check.requested", True)]
    assert hand_over(run, second) == 1
    assert plan_of(run, plan_id).held is False


def test_no_agent_ends_an_operators_pause_but_it_may_end_the_plan(run, reporter):
    plan_id, _ = run.plan(1)
    order(reporter, plan_id, "pause")
    fact = run.say(
        "system-events", "plan.state_changed", {"plan_id": plan_id, "new_state": "in_progress"}, plan_id=plan_id
    )
    assert (fact.result, fact.detail) == ("refused", "an operator holds the plan")
    run.record(run.change(ContextStored, plan_id=plan_id, user_id="alice", status="running"))
    assert plan_of(run, plan_id).state == "paused"
    run.say("system-events", "plan.completed", {"plan_id": plan_id}, plan_id=plan_id)
    plan = plan_of(run, plan_id)
    assert (plan.state, plan.held) == ("completed", False)


def test_an_agents_own_pause_holds_back_nothing_until_an_operator_holds_it_too(run, reporter):
    plan_id, (first, second) = run.plan(2)
    said = {"plan_id": plan_id, "expected_event": "answer.given"}
    run.say("system-events", "plan.waiting_for_input", said, plan_id=plan_id)
    assert hand_over(run, first) == 1
    assert order(reporter, plan_id, "pause").status_code == 200
    assert code(order(reporter, plan_id, "pause")) == (409, "invalid-transition")
    assert hand_over(run, second) == 0
    run.say("business-facts", "answer.given", plan_id=plan_id)
    assert plan_of(run, plan_id).state == "paused"
    assert order(reporter, plan_id, "resume").json()["state"] == "in_progress"


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_what_cannot_be_leaves_nothing(run, reporter, verb):
    plan_id, _ = run.plan(1)
    order(reporter, plan_id, "cancel")
    before = everything(run.workspace)
    response = order(reporter, plan_id, verb)
    assert code(response) == (409, "invalid-transition")
    assert response.json()["state"] == "cancelled"
    assert response.json()["allowed_transitions"] == []
    assert everything(run.workspace) == before


def test_only_who_may_act_and_sees_the_plan(run, reporter):
    plan_id, _ = run.plan(1)
    assert code(order(reporter, "unknown", "cancel")) == (404, "not-found")
    assert code(order(Caller(run.workspace, "other", "bob"), plan_id, "cancel")) == (404, "not-found")
    assert (
        code(order(Caller(run.workspace, run.tenant, run.user, scopes=["read", "publish"]), plan_id, "cancel"))[0]
        == 403
    )
    assert order(Caller(run.workspace), plan_id, "cancel").status_code == 200


def test_a_thousand_open_tasks_are_cancelled_by_a_handful_of_statements(run, reporter, django_assert_max_num_queries):
    plan_id, _ = run.plan(1000)
    with django_assert_max_num_queries(30):
        assert run.record(run.change(PlanMove, plan_id=plan_id, to="cancelled"))[0].result == "recorded"
    assert plan_of(run, plan_id).cancelled_tasks == 1000
