"""The engine of declared plans, inside the ledger: what is asked for when, once, and what the log says of it."""

import json
import random
from dataclasses import dataclass

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.planner.calls import publish
from tests.planner.declared import END, Author, ask, line, on
from tests.tracker.factories import assert_log_tells_all
from tracker import ledger, liveness
from tracker.changes import Change, Outcome, PlanMove, TaskMove
from tracker.models import Deadline, LogRow

pytestmark = pytest.mark.django_db


@pytest.fixture
def author():
    author = Author()
    yield author
    assert_log_tells_all(author.workspace)


@dataclass(slots=True, kw_only=True)
class Lost(Change):
    """The holder of a task is gone."""


def asked(author, plan_id):
    return [row.type for row in author.requests(plan_id)]


def test_steps_are_asked_for_one_after_the_other(author):
    plan_id = author.declare(line("check", "ship"))
    assert asked(author, plan_id) == ["check.requested"]
    author.answer(author.requests(plan_id)[0], {"price": 3})
    assert asked(author, plan_id) == ["check.requested", "ship.requested"]
    author.answer(author.requests(plan_id)[1])
    assert author.end(plan_id) == ("completed", "")
    entered = author.plan(plan_id).log.filter(type="plan.entered").order_by("seq")
    assert [json.loads(row.data)["entered"] for row in entered] == ["start", "check", "ship", "done"]
    assert {row.by for row in entered} == {"system"}


def test_a_request_carries_what_came_before(author):
    definition = line("check", "ship", vehicle={"id": 7}, tags=["a", "b"])
    definition["states"]["check"]["action"]["data"] = {
        "id": "{{goal_data.vehicle.id}}",
        "say": "tag {{goal_data.tags.1}}",
    }
    definition["states"]["ship"]["action"]["data"] = {"price": "{{results.check.price}}", "all": ["{{results.check}}"]}
    plan_id = author.declare(definition)
    first = author.requests(plan_id)[0]
    data = json.loads(first.data)
    assert (data["id"], data["say"]) == (7, "tag b")
    assert data["task_id"] == data["action_id"] == first.task.task_id
    author.answer(first, {"price": 12.5})
    data = json.loads(author.requests(plan_id)[1].data)
    assert (data["price"], data["all"]) == (12.5, [{"price": 12.5}])


def test_a_request_goes_out_as_a_workers_request_does(author):
    plan_id = author.declare(line("check"), session_id="s-1")
    row = author.requests(plan_id)[0]
    envelope = json.loads(row.envelope)
    assert envelope["response_event"] == "check.completed"
    assert (envelope["plan_id"], envelope["session_id"]) == (plan_id, "s-1")
    assert (row.source, row.tenant_id, row.user_id) == ("tracker", "acme", "alice")
    assert envelope["platform_tenant_id"] == author.workspace.name


BRANCH = {
    "goal": "branch.goal",
    "states": {
        "start": {
            "action": ask("check"),
            "transitions": [on("check", "dear", "result.price > 100"), on("check", "cheap", "result.price <= 100")],
        },
        "dear": END,
        "cheap": END,
    },
}


@pytest.mark.parametrize(("price", "state"), [(101, "dear"), (100, "cheap"), (99.5, "cheap")])
def test_the_first_transition_whose_condition_holds_is_taken(author, price, state):
    plan_id = author.declare(BRANCH)
    author.answer(author.requests(plan_id)[0], {"price": price})
    assert author.end(plan_id) == ("completed", "")
    assert author.plan(plan_id).current_state == state


def test_a_condition_that_cannot_be_computed_fails_the_plan_with_the_reason(author):
    plan_id = author.declare(BRANCH)
    author.answer(author.requests(plan_id)[0], {"cost": 3})
    state, error = author.end(plan_id)
    assert state == "failed"
    assert error == "the condition of the transition to dear cannot be computed: there is no member price"


def fork(join="all", **more):
    states = {
        "start": {
            "actions": [ask("left", name="l"), ask("right", name="r")],
            "join": join,
            "default_next": "sum",
        },
        "sum": {
            "action": ask("sum", data={"l": "{{results.start.l}}"} if join == "all" else {}),
            "default_next": "done",
        },
        "done": END,
        "broken": END,
    }
    states["start"] |= more
    if "on_failure" not in more:
        del states["broken"]
    return {"goal": "fork.goal", "states": states}


def test_parallel_actions_are_joined_when_all_are_done(author):
    plan_id = author.declare(fork())
    left, right = author.requests(plan_id)
    author.answer(right, {"n": 2})
    assert asked(author, plan_id) == ["left.requested", "right.requested"]
    author.answer(left, {"n": 1})
    assert asked(author, plan_id)[2:] == ["sum.requested"]
    assert json.loads(author.requests(plan_id)[2].data)["l"] == {"n": 1}
    assert author.machine(plan_id)["results"] == {"start": {"l": {"n": 1}, "r": {"n": 2}}}


def test_of_any_the_first_goes_on_and_the_rest_is_cancelled(author):
    plan_id = author.declare(fork("any"))
    left, right = author.requests(plan_id)
    author.fail(left)
    assert len(author.requests(plan_id)) == 2
    author.answer(right, {"n": 2})
    assert asked(author, plan_id)[2:] == ["sum.requested"]
    plan_id = author.declare(fork("any"))
    left, right = author.requests(plan_id)
    author.answer(left, {"n": 1})
    assert author.task(right.task.task_id).state == "cancelled"
    assert author.answer(right, {"n": 2}).refused


def test_of_all_one_failure_ends_the_state(author):
    plan_id = author.declare(fork(on_failure="broken"))
    left, right = author.requests(plan_id)
    author.fail(left)
    assert author.plan(plan_id).current_state == "broken"
    assert author.task(right.task.task_id).state == "cancelled"
    assert author.end(plan_id) == ("completed", "")


def test_a_failure_without_another_way_fails_the_plan(author):
    plan_id = author.declare(line("check"))
    author.fail(author.requests(plan_id)[0], "no brakes")
    assert author.end(plan_id) == ("failed", "no brakes")


def retried(**more):
    definition = line("check")
    definition["states"]["check"]["action"] |= {"retries": 2} | more
    return definition


def test_a_failed_attempt_is_asked_for_again(author):
    plan_id = author.declare(retried())
    for attempt in (1, 2):
        author.fail(author.requests(plan_id)[-1])
        task = author.requests(plan_id)[-1].task
        assert (task.state, task.attempt) == ("pending", attempt + 1)
    assert len({row.task_id for row in author.requests(plan_id)}) == 1
    author.answer(author.requests(plan_id)[-1])
    assert author.end(plan_id) == ("completed", "")
    assert author.plan(plan_id).task_count == author.plan(plan_id).completed_tasks == 1


def test_attempts_are_bounded(author):
    plan_id = author.declare(retried())
    for _ in range(3):
        author.fail(author.requests(plan_id)[-1], "again")
    assert author.end(plan_id) == ("failed", "again")
    assert len(author.requests(plan_id)) == 3


def test_between_attempts_there_is_a_rest(author):
    plan_id = author.declare(retried(backoff=0.01))
    author.fail(author.requests(plan_id)[-1])
    assert len(author.requests(plan_id)) == 1
    assert author.requests(plan_id)[0].task.state == "failed"
    author.wait_until_due("step.retry")
    assert len(author.requests(plan_id)) == 2
    author.answer(author.requests(plan_id)[1])
    assert author.end(plan_id) == ("completed", "")


def test_an_attempt_that_somebody_took_fails_when_its_time_is_over(author):
    plan_id = author.declare(retried(retries=1, timeout=0.01))
    author.take(author.requests(plan_id)[0])
    author.wait_until_due("step.timeout")
    assert len(author.requests(plan_id)) == 2
    author.take(author.requests(plan_id)[1])
    author.wait_until_due("step.timeout")
    assert author.end(plan_id) == ("failed", "no answer within 0.01 s")
    assert author.answer(author.requests(plan_id)[1]).refused


def test_what_nobody_took_is_cancelled_when_its_time_is_over(author):
    plan_id = author.declare(retried(timeout=0.01))
    author.wait_until_due("step.timeout")
    assert author.requests(plan_id)[0].task.state == "cancelled"
    assert author.end(plan_id) == ("failed", "nobody took it within 0.01 s")


def test_an_answer_in_time_leaves_a_deadline_that_means_nothing(author):
    plan_id = author.declare(retried(timeout=0.01))
    author.answer(author.requests(plan_id)[0])
    author.wait_until_due("step.timeout")
    assert author.end(plan_id) == ("completed", "")


def test_a_held_request_has_its_time_when_it_can_be_taken(author):
    plan_id = author.declare(retried(timeout=0.01))
    move(author, plan_id, "paused")
    author.wait_until_due("step.timeout")
    assert author.requests(plan_id)[0].task.state == "pending"
    move(author, plan_id, "in_progress")
    author.wait_until_due("step.timeout")
    assert author.requests(plan_id)[0].task.state == "cancelled"


def test_a_state_has_its_time_with_all_of_its_attempts(author):
    definition = retried(retries=5)
    definition["states"]["check"] |= {"timeout": 0.01, "on_failure": "late"}
    definition["states"]["late"] = END
    plan_id = author.declare(definition)
    author.fail(author.requests(plan_id)[0])
    author.wait_until_due("state.timeout")
    assert (author.plan(plan_id).state, author.plan(plan_id).current_state) == ("completed", "late")
    assert author.requests(plan_id)[0].task.state == "cancelled"


def lose(author, task, agent_id="worker-1"):
    """The holder of a task is marked as gone."""

    def write(world, change):
        liveness.mark(
            world, world.task((author.workspace.pk, "acme"), task.task_id), "disconnected", "its agent is gone"
        )
        return Outcome("recorded")

    ledger.register_change(Lost, write)
    ledger.record([Lost(workspace_id=author.workspace.pk, tenant_id="acme", by="system")])


def test_what_was_lost_with_its_holder_is_asked_for_again_three_times(author):
    plan_id = author.declare(line("check"))
    for attempt in range(1, 5):
        assert len(author.requests(plan_id)) == attempt
        author.take(author.requests(plan_id)[-1])
        lose(author, author.requests(plan_id)[-1].task)
    assert author.end(plan_id) == ("failed", "worker was lost while it held this")
    assert len(author.requests(plan_id)) == 4


def test_how_often_is_for_the_action_to_say(author):
    plan_id = author.declare(retried(retries=0))
    author.take(author.requests(plan_id)[-1])
    lose(author, author.requests(plan_id)[-1].task)
    assert author.end(plan_id)[0] == "failed"
    assert len(author.requests(plan_id)) == 1


def test_the_answer_to_an_attempt_that_was_given_up_on_is_kept_and_refused(author):
    plan_id = author.declare(retried())
    first = author.requests(plan_id)[0]
    author.fail(first)
    row = author.answer(first, {"n": 1})
    assert (row.refused, row.reason) == (True, "its attempt was given up on; the task is at attempt 2")
    assert row.task.state == "pending"
    author.answer(author.requests(plan_id)[1], {"n": 2})
    assert author.machine(plan_id)["results"] == {"check": {"n": 2}}
    assert author.end(plan_id) == ("completed", "")


def test_an_approval_that_is_rejected_goes_the_other_way(author):
    states = {
        "start": {
            "action": {"event_type": "ask.requested", "response_event": "ask.decided", "data": {"title": "Go?"}},
            "transitions": [
                {"on_event": "ask.decided", "to_state": "yes", "condition": "result.decision == 'approve'"},
                {"on_event": "ask.decided", "to_state": "no", "condition": "result.decision == 'reject'"},
            ],
        },
        "yes": END,
        "no": END,
    }
    for decision, success, state in (("approve", True, "yes"), ("reject", False, "no")):
        plan_id = author.declare({"goal": "ask.goal", "states": states})
        author.answer(author.requests(plan_id)[0], {"decision": decision}, success=success, status="")
        assert (author.plan(plan_id).state, author.plan(plan_id).current_state) == ("completed", state)


def test_a_failure_is_followed_only_where_that_is_meant(author):
    definition = line("check")
    definition["states"]["check"]["transitions"] = [
        on("check", "done"),
        {"on_event": "check.failed", "to_state": "sorry"},
    ]
    definition["states"]["sorry"] = END
    plan_id = author.declare(definition)
    author.fail(author.requests(plan_id)[0])
    assert author.end(plan_id) == ("failed", "broken")
    plan_id = author.declare(definition)
    author.fail(author.requests(plan_id)[0], type="check.failed")
    assert author.plan(plan_id).current_state == "sorry"


def test_a_state_may_wait_for_an_event(author):
    states = {
        "start": {"transitions": [{"on_event": "parts.arrived", "to_state": "done", "condition": "result.n > 1"}]},
        "done": END,
    }
    plan_id = author.declare({"goal": "wait.goal", "states": states})
    for n in (1, 2):
        assert author.plan(plan_id).state == "in_progress"
        publish(author.workspace, "parts.arrived", "business-facts", plan_id=plan_id, data={"n": n})
    assert author.end(plan_id) == ("completed", "")


def test_a_loop_ends_with_a_clear_failure(author):
    states = {
        "start": {
            "action": ask("a", data={"x": "{{results.start.gone}}"}),
            "on_failure": "again",
            "default_next": "done",
        },
        "again": {"default_next": "start"},
        "done": END,
    }
    plan_id = author.declare({"goal": "loop.goal", "states": states | {"start": states["start"] | {}}})
    state, error = author.end(plan_id)
    assert (state, error) == ("failed", "1000 states have been entered, and it still goes round")
    assert author.requests(plan_id) == []


def test_whoever_set_the_goal_is_answered(author):
    plan_id = author.declare(line("check"), response_event="walk.finished")
    author.answer(author.requests(plan_id)[0], {"n": 1})
    row = LogRow.objects.get(type="walk.finished", plan__plan_id=plan_id)
    assert (row.topic, row.correlation_id, row.source, row.unmatched) == ("action-results", plan_id, "tracker", False)
    assert json.loads(row.data) == {
        "plan_id": plan_id,
        "status": "completed",
        "success": True,
        "result": {"state": "done", "results": {"check": {"n": 1}}},
    }


def move(author, plan_id, to):
    change = PlanMove(workspace_id=author.workspace.pk, tenant_id="acme", by="user:alice", plan_id=plan_id, to=to)
    assert ledger.record([change]).outcomes[0].result == "recorded"


def test_a_cancelled_plan_goes_no_further(author):
    plan_id = author.declare(line("check", "ship"))
    request = author.requests(plan_id)[0]
    move(author, plan_id, "cancelled")
    author.answer(request)
    assert author.end(plan_id) == ("cancelled", "")
    assert len(author.requests(plan_id)) == 1


def test_a_held_plan_takes_answers_and_asks_but_what_it_asks_for_waits(author):
    plan_id = author.declare(line("check", "ship"))
    move(author, plan_id, "paused")
    author.answer(author.requests(plan_id)[0])
    assert author.requests(plan_id)[1].task.state == "pending"
    assert author.plan(plan_id).state == "paused"
    move(author, plan_id, "in_progress")
    author.answer(author.requests(plan_id)[1])
    assert author.end(plan_id) == ("completed", "")


def task_move(author, task, to):
    change = TaskMove(workspace_id=author.workspace.pk, tenant_id="acme", by="user:alice", task_id=task.task_id, to=to)
    assert ledger.record([change]).outcomes[0].result == "recorded"


def test_a_cancelled_task_fails_its_step(author):
    plan_id = author.declare(retried())
    task_move(author, author.requests(plan_id)[0].task, "cancelled")
    assert author.end(plan_id) == ("failed", "check was cancelled by user:alice")


def test_a_step_that_is_reported_by_rest_counts_as_well(author):
    plan_id = author.declare(line("check", "ship"))
    task = author.requests(plan_id)[0].task
    path = f"/tracker/tasks/{task.task_id}/transitions"
    assert author.agent.post(path, {"to": "running"}).status_code == 201
    assert author.agent.post(path, {"to": "completed", "result": {"n": 3}}).status_code == 201
    assert author.machine(plan_id)["results"] == {"check": {"n": 3}}
    assert asked(author, plan_id) == ["check.requested", "ship.requested"]


def test_an_operators_retry_before_the_rest_is_over_is_the_next_attempt(author):
    plan_id = author.declare(retried(backoff=0.01))
    author.fail(author.requests(plan_id)[0])
    task = author.requests(plan_id)[0].task
    task_move(author, task, "pending")
    author.wait_until_due("step.retry")
    assert len(author.requests(plan_id)) == 1
    author.answer(author.requests(plan_id)[0], {"n": 1})
    assert author.end(plan_id) == ("completed", "")
    assert author.task(task.task_id).attempt == 2


def test_answers_in_any_order_and_twice_give_the_same_end(author):
    names = [f"s{n}" for n in range(6)]
    states = {
        "start": {"actions": [ask(name, name=name) for name in names], "default_next": "last"},
        "last": {"action": ask("last"), "default_next": "done"},
        "done": END,
    }
    for seed in range(5):
        plan_id = author.declare({"goal": "many.goal", "states": states})
        requests = author.requests(plan_id)
        random.Random(seed).shuffle(requests)
        for request in requests:
            author.answer(request, {"n": request.type})
            author.answer(request, {"n": "twice"})
        assert author.machine(plan_id)["results"]["start"] == {n: {"n": f"{n}.requested"} for n in names}
        author.answer(author.requests(plan_id)[-1])
        assert author.end(plan_id) == ("completed", "")
        assert len(author.requests(plan_id)) == 7


def test_agents_own_plans_cost_no_query(author):
    publish(author.workspace, "x.requested", plan_id="plain", data={})
    with CaptureQueriesContext(connection) as queries:
        publish(author.workspace, "x.requested", plan_id="plain", data={})
    assert not [q for q in queries if "declaredplan" in q["sql"]]
    assert Deadline.objects.count() == 0
