"""The rules by which a message finds its plan and task, as tables of cases."""

from datetime import UTC, datetime

import pytest

from tracker import linking
from tracker.linking import Heard
from tracker.records import PlanRecord, TaskRecord

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def heard(topic="action-requests", type="parts.check.requested", data=None, **fields):
    fields = {"event_id": "event-1", "source": "planner", "correlation_id": "c"} | fields
    return Heard(topic=topic, type=type, data=data or {}, occurred_at=NOW, **fields)


def result(type="parts.check.completed", data=None, **fields):
    return heard("action-results", type, data, **fields)


def a_plan(**fields):
    fields = {"plan_id": "p", "correlation_id": "c", "goal_event": "goal", "response_event": "answer"} | fields
    return PlanRecord(id=1, workspace_id=1, tenant_id="acme", created_at=NOW, updated_at=NOW, **fields)


def a_task(position=1, state="pending", correlation_id="c", response_event="parts.check.completed"):
    return TaskRecord(
        id=position, plan_id=1, workspace_id=1, tenant_id="acme", task_id=f"t{position}", name="n", label="n",
        ordinal=1, event_type="parts.check.requested", state=state, position=position, correlation_id=correlation_id,
        response_event=response_event, created_at=NOW, updated_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("message", "plan_id"),
    [
        (heard(plan_id="e", data={"plan_id": "d"}), "e"),
        (heard(data={"plan_id": "d"}), "d"),
        (heard(data={"plan_id": None}), ""),
        (heard(data={"plan_id": 7}), ""),
        (heard(data={"plan_id": ""}), ""),
        (heard(data={"plan_id": "x" * 255}), "x" * 255),
        (heard(data={"plan_id": "x" * 256}), ""),
        (heard(data={"plan_id": "a\x00b"}), ""),
        (heard(data={"plan_id": "half \ud800"}), ""),
        (heard(correlation_id="c"), ""),
    ],
)
def test_the_plan_that_a_message_names(message, plan_id):
    assert linking.named_plan(message) == plan_id


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ({}, ["c"]),
        ({"task_id": "t"}, ["t", "c"]),
        ({"action_id": "a", "task_id": "t"}, ["a", "t", "c"]),
        ({"action_id": "c", "task_id": "c"}, ["c"]),
        ({"action_id": None, "task_id": ["t"]}, ["c"]),
    ],
)
def test_the_ids_under_which_a_message_may_know_its_task(data, ids):
    assert list(linking.named_tasks(heard(data=data))) == ids


@pytest.mark.parametrize(
    ("message", "plan", "goal"),
    [
        (heard(type="goal"), {}, True),
        (heard(type="goal", correlation_id="p"), {}, True),
        (heard(type="goal", correlation_id="other"), {}, False),
        (heard(type="goal", correlation_id="other", event_id="p"), {}, True),
        (heard(type="other"), {}, False),
        (heard(type="goal", data={"action_id": "a"}), {}, False),
        (heard(type="goal", data={"action_id": None}), {}, True),
        (heard(type=""), {"goal_event": ""}, False),
        (heard("action-results", "goal"), {}, False),
        (heard("business-facts", "goal"), {}, False),
    ],
)
def test_goal_or_task(message, plan, goal):
    assert linking.is_goal(message, a_plan(**plan)) is goal


@pytest.mark.parametrize(
    ("message", "plan", "final"),
    [
        (result("answer"), {}, True),
        (result("answer", correlation_id="p"), {}, True),
        (result("answer", correlation_id="other"), {}, False),
        (result("other"), {}, False),
        (result(""), {"response_event": ""}, False),
        (heard(type="answer"), {}, False),
    ],
)
def test_the_plans_own_answer(message, plan, final):
    assert linking.is_final_answer(message, a_plan(**plan)) is final


@pytest.mark.parametrize(
    ("type", "data", "label"),
    [
        ("parts.check.requested", {}, "parts-check"),
        ("parts_check.requested", {}, "parts-check"),
        ("parts.check_requested", {}, "parts-check"),
        ("parts.check", {}, "parts-check"),
        ("requested", {}, "requested"),
        ("parts.requested.again", {}, "parts-requested-again"),
        ("Parts.Check.Requested", {}, "Parts-Check-Requested"),
        ("parts.check.requested", {"task_name": "brakes"}, "brakes"),
        ("parts.check.requested", {"action_name": "tyres"}, "tyres"),
        ("parts.check.requested", {"task_name": "brakes", "action_name": "tyres"}, "brakes"),
        ("parts.check.requested", {"task_name": "  ", "action_name": "tyres"}, "tyres"),
        ("parts.check.requested", {"task_name": 5}, "parts-check"),
        ("parts.check.requested", {"task_name": "a.b_c"}, "a.b_c"),
        ("parts.check.requested", {"task_name": "x" * 256}, "parts-check"),
    ],
)
def test_names(type, data, label):
    assert linking.label_of(heard(type=type, data=data)) == label


@pytest.mark.parametrize(
    ("data", "taken", "key"),
    [
        ({"action_id": "a", "task_id": "t"}, set(), "a"),
        ({"action_id": "a", "task_id": "t"}, {"a"}, "t"),
        ({"action_id": "a", "task_id": "t"}, {"a", "t"}, "event-1"),
        ({"task_id": "t"}, set(), "t"),
        ({"task_id": "t"}, {"t"}, "event-1"),
        ({}, set(), "event-1"),
        ({"action_id": "", "task_id": 9}, set(), "event-1"),
    ],
)
def test_the_id_of_a_task(data, taken, key):
    assert linking.task_key(heard(data=data), taken.__contains__) == key


def test_an_event_id_that_is_a_tasks_id_already_makes_no_second_one():
    key = linking.task_key(heard(), {"event-1"}.__contains__)
    assert key not in {"event-1", "", "c"}
    assert linking.task_key(heard(), {"event-1", key}.__contains__) not in {"event-1", key}


EXPECTED = "parts.check.completed"


@pytest.mark.parametrize(
    ("state", "type", "response_event", "correlation_id", "sure", "fits"),
    [
        ("running", EXPECTED, EXPECTED, "other", False, True),
        ("running", EXPECTED, "", "other", False, True),
        ("running", "parts.check.failed", EXPECTED, "other", False, False),
        ("completed", EXPECTED, EXPECTED, "other", False, False),
        (
            "completed",
            EXPECTED,
            EXPECTED,
            "t1",
            False,
            False,
        ),  # a choreography's: it names all tasks of the correlation
        ("completed", EXPECTED, EXPECTED, "c", False, True),  # a contradiction
        ("running", "parts.check.failed", EXPECTED, "c", False, True),
        ("completed", EXPECTED, EXPECTED, "other", True, True),
        ("running", "anything", EXPECTED, "other", True, True),
    ],
)
def test_a_task_found_by_id(state, type, response_event, correlation_id, sure, fits):
    task = a_task(state=state, response_event=response_event, correlation_id=correlation_id)
    heard = result(type, {"task_id": "t1"}, correlation_id="t1" if correlation_id == "t1" else "c")
    assert linking.by_id(heard, task, sure=sure) is fits


def test_no_task_is_found_by_no_id():
    assert linking.by_id(result(), None, sure=True) is False


def test_the_oldest_open_task_of_the_correlation_that_expects_the_type():
    tasks = [
        a_task(5), a_task(2, state="completed"), a_task(3, correlation_id="other"), a_task(4, response_event="other"),
        a_task(6),
    ]  # fmt: skip
    assert linking.oldest(result(), tasks).position == 5
    assert linking.oldest(result(), reversed(tasks)).position == 5
    assert linking.oldest(result("unknown"), tasks) is None


def test_the_only_open_task_of_the_correlation():
    one = [a_task(1, response_event="other"), a_task(2, state="failed"), a_task(3, correlation_id="other")]
    assert linking.only_one(result(), one, shared=False).position == 1
    assert linking.only_one(result(), [*one, a_task(4)], shared=False) is None
    assert linking.only_one(result(), [], shared=False) is None


@pytest.mark.parametrize(
    ("type", "response_event", "agent", "meant"),
    [
        ("parts.check.failed", "parts.check.completed", "", True),
        ("parts.check.failed", "quite.other", "", True),
        ("quite.failed", "quite.other", "", True),
        ("anything", "", "", True),
        ("anything", "quite.other", "worker", True),
        ("anything", "quite.other", "another", False),
        ("anything", "other", "", False),
        ("stock.count.completed", "parts.check.completed", "", False),
    ],
)
def test_the_only_open_task_of_a_shared_correlation(type, response_event, agent, meant):
    task = a_task(response_event=response_event)
    task.agent = agent
    found = linking.only_one(result(type, source="worker"), [task], shared=True)
    assert (found is task) is meant


@pytest.mark.parametrize(
    ("type", "data", "said"),
    [
        ("x.completed", {}, ("completed", "")),
        ("x.completed", {"result": {"ok": 1}}, ("completed", "")),
        ("x.done", {"status": "completed"}, ("completed", "")),
        ("x.done", {"status": "completed", "error": "a warning"}, ("completed", "")),
        ("x.failed", {"status": "completed"}, ("completed", "")),
        ("x.failed", {"success": True}, ("completed", "")),
        ("x.done", {"success": True, "status": "failed"}, ("completed", "")),
        ("x.done", {"success": None, "status": "completed"}, ("completed", "")),
        ("x.done", {"success": False, "status": "completed", "error": "why"}, ("failed", "why")),
        ("x.done", {"success": False}, ("failed", "")),
        ("x.done", {"status": "failed"}, ("failed", "")),
        ("x.done", {"status": "error", "error": "why"}, ("failed", "why")),
        ("x.done", {"status": "failed", "result": {"error": "inside"}}, ("failed", "inside")),
        ("x.done", {"error": "why"}, ("failed", "why")),
        ("x.done", {"error": ""}, ("completed", "")),
        ("x.done", {"error": None, "status": ["odd"]}, ("completed", "")),
        ("x.failed", {}, ("failed", "")),
        ("x.error", {}, ("failed", "")),
        ("failed", {}, ("failed", "")),
        ("x.failed.soon", {}, ("completed", "")),
        ("x.done", {"success": False, "error": {"message": "why", "code": 7}}, ("failed", "why")),
        ("x.done", {"success": False, "error": {"code": 7}}, ("failed", '{"code":7}')),
        ("x.done", {"success": False, "error": ["a", 1]}, ("failed", "['a', 1]")),
        ("x.done", {"success": False, "error": "a\x00b\ud800c"}, ("failed", "a\ufffdb\ufffdc")),
    ],
)
def test_how_a_result_says_that_its_task_ended(type, data, said):
    assert linking.verdict(type, data) == said


def test_an_errors_text_is_bounded():
    _, error = linking.verdict("x.failed", {"error": "e" * 1_000_000})
    assert error == "e" * 10_000


def test_the_digest_tells_type_and_data_but_not_their_order():
    same = linking.digest_of("t", {"a": 1, "b": {"c": [1, 2], "d": 10**30}})
    assert linking.digest_of("t", {"b": {"d": 10**30, "c": [1, 2]}, "a": 1}) == same
    others = [("u", {"a": 1}), ("t", {"a": 2}), ("t", {}), ("t", {"a": "1"}), ("t", {"a": "half \ud800"})]
    assert len({linking.digest_of(*other) for other in others} | {same}) == len(others) + 1


@pytest.mark.parametrize(
    ("topic", "type", "kinds"),
    [
        ("action-requests", "plan.completed", {"is_request"}),
        ("action-results", "task.progress", {"is_result", "awaits_task"}),
        ("system-events", "plan.started", {"is_plan_fact"}),
        ("system-events", "plan.unknown", set()),
        ("system-events", "task.progress", {"is_task_fact", "awaits_task"}),
        ("system-events", "task.state_changed", {"is_task_fact", "awaits_task"}),
        ("task-events", "task.state_changed", set()),
        ("plan-events", "plan.completed", set()),
        ("business-facts", "task.progress", set()),
    ],
)
def test_what_a_message_is(topic, type, kinds):
    message = heard(topic, type)
    every = ("is_request", "is_result", "is_plan_fact", "is_task_fact", "awaits_task")
    assert {kind for kind in every if getattr(message, kind)} == kinds
