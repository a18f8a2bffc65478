"""What is done with tasks that have stalled, and what comes of attempts that were given up on."""

import json

import pytest

from tests.planner.calls import Agent as Caller
from tests.tracker.factories import log, moves, plan_of, states, task_of
from tests.tracker.lively import Worker, pass_time, stall
from tracker import policies
from tracker.models import Deadline, LogRow, Policy
from tracker.wire import frame


@pytest.fixture(autouse=True)
def nothing_kept():
    policies.forget()
    yield
    policies.forget()


@pytest.fixture
def policy(run):
    def make(**fields):
        Policy.objects.create(workspace=run.workspace, **({"backoff": 0} | fields))
        policies.forget(run.workspace.pk)

    return make


@pytest.fixture
def workers(run):
    """Two instances of one agent, both there."""
    return [Worker(run, agent_id).register().connect() for agent_id in ("w-1", "w-2")]


@pytest.fixture
def task_id(run, workers):
    """A task that the first of them holds."""
    _, (task_id,) = run.plan(plan_id="p")
    workers[0].take(task_id)
    return task_id


def lose(run, worker):
    worker.leave()
    pass_time(run, 6)


def result(run, task_id, **data):
    return run.result("p", task_id, action_id=data.pop("action_id", None), **data)


def test_without_a_policy_it_is_only_told(run, workers, task_id):
    lose(run, workers[0])
    assert (stall(run, task_id), moves(run, task_id)) == ("disconnected", ["pending", "running"])


def test_another_attempt_goes_to_another_instance_and_the_log_shows_both(run, workers, task_id, policy):
    policy(action="retry", attempts=2)
    lose(run, workers[0])
    assert (stall(run, task_id), task_of(run, task_id).state, task_of(run, task_id).attempt) == ("", "pending", 2)
    [row] = LogRow.objects.filter(task__task_id=task_id, kind="message")
    assert (row.handed_to, row.handed_id, row.attempt) == ("", "w-1", 2)
    workers[1].take(task_id)
    result(run, task_id, action_id="~attempt-2")
    assert moves(run, task_id) == ["pending", "running", "pending", "running", "completed"]
    assert plan_of(run, "p").state == "completed"
    reasons = [r.reason for r in log(run, "p") if r.to_state == "pending" and r.from_state]
    assert reasons == ["attempt 1 of 2 is given up: the connection of its agent was lost"]


def test_attempts_end(run, workers, task_id, policy):
    policy(action="retry", attempts=2)
    lose(run, workers[0])
    workers[1].take(task_id)
    lose(run, workers[1])
    assert (task_of(run, task_id).attempt, stall(run, task_id)) == (2, "disconnected")


def test_and_then_it_fails_if_the_policy_says_so(run, workers, task_id, policy):
    policy(action="retry", attempts=1, then="fail")
    lose(run, workers[0])
    task = task_of(run, task_id)
    assert (task.state, task.error, task.stalled) == ("failed", "stalled: the connection of its agent was lost", False)
    assert plan_of(run, "p").state == "failed"


def test_the_wait_before_an_attempt_grows_and_ends_when_the_task_is_heard_of(run, workers, task_id, policy):
    policy(action="retry", attempts=9, backoff=10)
    workers[0].leave()
    pass_time(run, 6)
    assert task_of(run, task_id).state == "running"
    workers[0].connect("stream-2")
    pass_time(run, 60)
    assert (task_of(run, task_id).attempt, stall(run, task_id)) == (1, "")
    lose(run, workers[0]) if workers[0].leave("stream-2") else None
    pass_time(run, 6)
    assert Deadline.objects.filter(kind="task.retry").exists()
    pass_time(run, 13)
    assert task_of(run, task_id).attempt == 2


def test_a_result_of_an_attempt_that_was_given_up_on_is_refused_and_kept(run, workers, task_id, policy):
    policy(action="retry")
    lose(run, workers[0])
    late = result(run, task_id)
    assert (late.result, late.detail) == ("refused", "of an attempt that was given up on; the task is at attempt 2")
    workers[1].take(task_id)
    assert result(run, task_id).result == "refused"
    assert task_of(run, task_id).state == "running"
    assert result(run, task_id, action_id="~attempt-2").result == "recorded"
    assert result(run, task_id).result == "refused"
    assert task_of(run, task_id).state == "completed"
    assert [row.refused for row in log(run, "p") if row.topic == "action-results"] == [True, True, False, True]


def test_one_that_tells_no_attempt_is_of_the_present_one(run, workers, task_id, policy):
    policy(action="retry")
    lose(run, workers[0])
    assert run.result("p", task_id).result == "refused"  # nobody has the present one
    workers[1].take(task_id)
    assert run.result("p", task_id).result == "recorded"
    assert task_of(run, task_id).state == "completed"


def test_accepted_late_results_count_once(run, workers, task_id, policy):
    policy(action="retry", late="accept")
    lose(run, workers[0])
    assert result(run, task_id).result == "recorded"
    assert task_of(run, task_id).state == "completed"
    assert result(run, task_id, action_id="~attempt-2").result == "refused"


def test_a_retry_by_a_person_gives_the_attempt_up_as_well(run, workers, task_id):
    lose(run, workers[0])
    run.move(task_id, "pending")
    assert result(run, task_id).result == "refused"


def test_after_a_failure_nothing_is_given_up(run, workers, task_id):
    result(run, task_id, success=False, error="no")
    run.move(task_id, "pending")
    row = LogRow.objects.get(task__task_id=task_id, topic="action-requests")
    assert (row.attempt, row.handed_id) == (1, "")
    workers[0].take(task_id)
    assert result(run, task_id).result == "recorded"


@pytest.mark.parametrize(("asked", "sent"), [(None, "~attempt-2"), ("act-7", "act-7~attempt-2")])
def test_the_copy_for_a_further_attempt_tells_its_number_and_its_answer_goes_out_without(
    run, workers, policy, asked, sent
):
    policy(action="retry")
    data = {"action_id": asked} if asked else {}
    run.request("p", "t", data=data)
    task = plan_of(run, "p").tasks.get()
    workers[0].take(task.task_id)
    row = LogRow.objects.get(topic="action-requests")
    assert json.loads(frame(row))["data"].get("action_id") == asked
    lose(run, workers[0])
    row.refresh_from_db()
    assert json.loads(frame(row))["data"]["action_id"] == sent
    assert json.loads(row.data).get("action_id") == asked
    workers[1].take(task.task_id)
    run.say("action-results", "parts.check.completed", {"action_id": sent, "status": "completed"}, plan_id="p",
            correlation_id="t", source="parts-worker")  # fmt: skip
    answered = LogRow.objects.get(topic="action-results")
    assert json.loads(answered.data)["action_id"] == sent
    assert json.loads(frame(answered))["data"]["action_id"] == asked
    assert states(run, "p") == {"parts-check": "completed"}


@pytest.fixture
def decide(run):
    """Answer the one question."""
    person = Caller(run.workspace, run.tenant, run.user)

    def decide(decision):
        [card] = person.get("/approvals").json()["items"]
        answer = person.post(f"/approvals/{card['id']}/decision", {"decision": decision})
        return answer.status_code, card["title"], card["blocks"]

    return decide


def test_a_person_is_asked_once_and_lets_it_be_tried_again(run, workers, task_id, policy, decide):
    policy(action="ask")
    lose(run, workers[0])
    workers[0].connect("stream-2")
    workers[0].leave("stream-2")
    pass_time(run, 6)
    assert decide("approve") == (200, "parts-check has stalled: try it again?", task_id)
    assert (task_of(run, task_id).state, task_of(run, task_id).attempt) == ("pending", 2)
    assert [r.by for r in log(run, "p") if r.to_state == "pending" and r.from_state] == [
        "user:alice"
    ]  # a key that decides counts as its user


def test_a_person_is_asked_and_has_it_cancelled(run, workers, task_id, policy, decide):
    policy(action="ask")
    lose(run, workers[0])
    decide("reject")
    assert task_of(run, task_id).state == "cancelled"


def test_an_answer_about_a_task_that_has_ended_does_nothing(run, workers, task_id, policy, decide):
    policy(action="ask")
    lose(run, workers[0])
    result(run, task_id)
    decide("reject")
    assert task_of(run, task_id).state == "completed"


def test_the_first_policy_that_fits_applies(run, policy):
    policy(position=1, task_type="parts.*", goal="maintenance.*", timeout=7)
    policy(position=2, task_type="parts.*", timeout=70)
    policy(position=3, timeout=700)
    run.file_plan("p")
    for task, kind in (("a", "parts.check.requested"), ("b", "tyres.check.requested")):
        run.request("p", task, kind)
    run.request("q", "c")
    run.request("q", "d", data={"timeout": 5})
    assert [task_of(run, task).timeout for task in "abcd"] == [7, 700, 70, 5]


def test_a_time_for_all(run, settings):
    settings.TASK_TIMEOUT_SECONDS = 30
    run.request("p", "t")
    assert task_of(run, "t").timeout == 30


def test_policies_are_set_and_read_by_rest(run):
    admin = Caller(run.workspace)
    one = {"task_type": "parts.*", "action": "retry", "timeout": 7}
    answer = admin.call("PUT", "/policies", {"items": [one, {"then": "fail"}]})
    defaults = {"task_type": "*", "goal": "*", "timeout": None, "action": "tell", "attempts": 3, "backoff": 1.0}
    assert answer.json() == {
        "items": [defaults | {"then": "tell", "late": "refuse"} | one, defaults | {"then": "fail", "late": "refuse"}]
    }
    assert admin.get("/policies").json() == answer.json()
    run.request("p", "t")
    assert task_of(run, "t").timeout == 7
    admin.call("PUT", "/policies", {"items": []})
    run.request("p", "u")
    assert task_of(run, "u").timeout is None


@pytest.mark.parametrize("fault", [{"action": "pray"}, {"timeout": 0}, {"attempts": 0}, {"goal": "\x00"}, {"x": 1}])
def test_a_policy_that_makes_no_sense_changes_nothing(run, fault):
    admin = Caller(run.workspace)
    admin.call("PUT", "/policies", {"items": [{"timeout": 7}]})
    answer = admin.call("PUT", "/policies", {"items": [{}, fault]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/items/1/{next(iter(fault))}")
    assert [one["timeout"] for one in admin.get("/policies").json()["items"]] == [7]


def test_a_key_of_one_tenant_sets_no_policies(run, reporter):
    assert reporter.call("PUT", "/policies", {"items": []}).status_code == 403
    assert Caller(run.workspace, scopes=["read", "publish"]).call("PUT", "/policies", {"items": []}).status_code == 403
    assert reporter.get("/policies").json() == {"items": []}
