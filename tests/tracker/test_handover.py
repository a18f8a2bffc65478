"""Requests handed to agents, progress told by facts, odd data, and how many queries a batch takes."""

import json
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.tracker.factories import moves, picture, plan_of, task_of, told
from tests.tracker.runs import Run, unique
from tracker.changes import Handover
from tracker.models import LogRow, QueueGroup


def row_of(outcome):
    return LogRow.objects.get(event_id=outcome.event_id, kind="message")


def hand(run, *rows, name="parts-worker", instance="instance-1", **how):
    """Hand these rows to an agent; gives the keys of those that are to be sent."""
    group, _ = QueueGroup.objects.get_or_create(
        workspace=run.workspace, name=name, tenant_id=run.tenant, defaults={"seen_at": datetime.now(UTC)}
    )
    ids = [row.pk for row in rows]
    change = run.change(Handover, row_ids=ids, name=name, agent_id=instance, group_id=group.pk, cursor=max(ids), **how)
    sent = run.record(change)[0].value
    group.refresh_from_db()
    assert group.requests_cursor >= max(ids)
    return sent


# --- hand-over ---


def test_a_task_runs_when_it_is_handed_over(run):
    outcome = run.request("plan", "task")
    assert hand(run, row_of(outcome)) == [row_of(outcome).pk]
    task, row = task_of(run, "task"), row_of(outcome)
    assert (task.state, task.agent, task.agent_id) == ("running", "parts-worker", "instance-1")
    assert (row.handed_to, row.handed_id) == ("parts-worker", "instance-1")
    assert row.handed_at is not None
    assert moves(run, "task") == ["pending", "running"]


def test_the_second_name_gets_it_too_but_does_not_hold_it(run):
    row = row_of(run.request("plan", "task"))
    hand(run, row)
    assert hand(run, row, name="audit-worker", instance="instance-2") == [row.pk]
    task = task_of(run, "task")
    assert (task.agent, task.version, row_of(run.request("plan", "other")).handed_to) == ("parts-worker", 2, "")
    assert told(run, "plan", type="task.handed_over") == [("task.handed_over", None, None, False)]


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_an_ended_task_is_not_sent(run, end):
    row = row_of(run.request("plan", "task"))
    run.result("plan", "task", status=end)
    assert hand(run, row) == []
    assert moves(run, "task") == ["pending", "(running)", end]


def test_what_was_handed_over_before_its_plan_was_known_keeps_its_holder(run):
    plan_id = unique("plan")
    row = row_of(run.say("action-requests", "parts.check.requested", correlation_id=plan_id, id="early"))
    assert hand(run, row) == [row.pk]
    assert hand(run, row, name="audit-worker") == [row.pk]
    run.file_plan(plan_id)
    task = task_of(run, "early")
    assert (task.state, task.agent, task.agent_id) == ("running", "parts-worker", "instance-1")


def test_a_goal_is_handed_over_without_a_task(run):
    plan_id = unique("plan")
    row = row_of(run.say("action-requests", "maintenance.goal", source="client", correlation_id=plan_id))
    hand(run, row, name="fleet-planner")
    run.file_plan(plan_id)
    assert hand(run, row, name="other-planner") == [row.pk]
    assert plan_of(run, plan_id).task_count == 0


def test_again_to_another_instance_of_the_holder(run):
    row = row_of(run.request("plan", "task"))
    hand(run, row)
    assert hand(run, row, instance="instance-2", again=True) == [row.pk]
    task = task_of(run, "task")
    assert (task.state, task.agent, task.agent_id, task.version) == ("running", "parts-worker", "instance-2", 2)


def test_what_may_have_been_handed_over_is_handed_over_once(run):
    """Nobody heard what came of it: it is said again, by the same agent; another one's is not touched."""
    first, second = row_of(run.request("plan", "first")), row_of(run.request("plan", "second"))
    hand(run, first)
    before = told(run, "plan")
    assert hand(run, first, instance="instance-2", unsure=True) == []
    assert hand(run, first, unsure=True) == [first.pk]
    assert told(run, "plan") == before
    assert hand(run, first, second, unsure=True) == [first.pk, second.pk]
    assert [task_of(run, name).state for name in ("first", "second")] == ["running", "running"]
    run.result("plan", "first")
    assert hand(run, first, unsure=True) == []


def test_many_at_once_in_their_order(run):
    rows = [row_of(run.request(f"plan-{n % 3}", f"task-{n}")) for n in range(30)]
    assert hand(run, *rows) == [row.pk for row in rows]
    assert {task_of(run, f"task-{n}").state for n in range(30)} == {"running"}


# --- progress ---


@pytest.mark.parametrize(("progress", "kept"), [(0, 0.0), (1, 1.0), (0.25, 0.25), (1e-300, 1e-300), (None, None)])
def test_progress_from_0_to_1(run, progress, kept):
    plan_id, [task_id] = run.plan()
    assert run.progress(plan_id, task_id, progress, "half way").result == "recorded"
    task = task_of(run, task_id)
    assert (task.progress, task.message, task.version, task.state) == (kept, "half way", 1, "pending")


@pytest.mark.parametrize(
    "progress",
    [-0.01, 1.01, 50, 10**400, True, False, "0.5", float("nan"), float("inf"), float("-inf"), [0.5], {"a": 1}, "\x00"],
)
def test_progress_that_is_none(run, progress):
    plan_id, [task_id] = run.plan()
    outcome = run.progress(plan_id, task_id, progress)
    assert (outcome.result, outcome.detail[:40]) == ("refused", "progress must be a number from 0 to 1, n")
    assert task_of(run, task_id).progress is None


def test_a_message_is_bounded_and_storable(run):
    plan_id, [task_id] = run.plan()
    run.progress(plan_id, task_id, 0.5, "a\x00b\ud800" + "c" * 1_000_000)
    message = task_of(run, task_id).message
    assert (len(message), message[:5]) == (10_000, "a\ufffdb\ufffdc")
    run.say("system-events", "task.progress", {"task_id": task_id, "message": {"odd": [1]}}, plan_id=plan_id)
    assert task_of(run, task_id).message == "{'odd': [1]}"


def test_progress_may_say_the_state(run):
    plan_id, [task_id] = run.plan()
    said = {"task_id": task_id, "state": "in_review", "progress": 0.9}
    run.say("system-events", "task.progress", said, plan_id=plan_id)
    assert (moves(run, task_id), task_of(run, task_id).progress) == (["pending", "(running)", "in_review"], 0.9)
    refused = run.say("system-events", "task.progress", said | {"state": "odd", "progress": 1}, plan_id=plan_id)
    assert (refused.result, task_of(run, task_id).progress) == ("refused", 0.9)


def test_an_ended_task_makes_no_progress(run):
    plan_id, [task_id] = run.plan()
    run.result(plan_id, task_id)
    assert run.progress(plan_id, task_id, 0.5).detail == "the task is completed"


def test_the_same_progress_again_is_no_note(run):
    plan_id, [task_id] = run.plan()
    for _ in range(3):
        run.progress(plan_id, task_id, 0.5, "half way")
    assert len(told(run, plan_id, type="task.updated")) == 1


# --- odd data ---


def nested(depth):
    data = {"deep": 1}
    for _ in range(depth):
        data = {"in": [data]}
    return data


ODD = {
    "big": {"n": [2**63, -(2**64), 10**300]},
    "nul": {"a\x00b": "c\x00d"},
    "half": {"a\ud800": "\udfff"},
    "deep": nested(90),
    "long": {"text": "ä" * 300_000},
    "empty": {"": {"": [[], {}, "", None, False, 0]}},
    "shadow": {"plan_id": ["no"], "task_id": {"no": 1}, "action_id": 7, "task_name": [], "success": "no", "error": 0},
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_data_is_kept_as_it_came(run, kind):
    plan_id = unique("plan")
    outcomes = [
        run.say(
            "action-requests", "odd.requested", ODD[kind], plan_id=plan_id, correlation_id=f"c-{plan_id}",
            response_event="odd.done",
        ),
        run.say("action-results", "odd.done", ODD[kind], correlation_id=f"c-{plan_id}"),
        run.say("business-facts", "odd.seen", ODD[kind]),
    ]  # fmt: skip
    assert [json.loads(row_of(outcome).data) for outcome in outcomes] == [ODD[kind]] * 3
    assert picture(run, plan_id)["counts"] == (1, 1, 0, 0)


@pytest.mark.parametrize("kind", ODD)
def test_odd_data_waits_and_is_adopted(run, kind):
    plan_id = unique("plan")
    run.say(
        "action-requests", "odd.requested", ODD[kind], correlation_id=plan_id, response_event="odd.done", id=f"{kind}"
    )
    run.say("action-results", "odd.done", ODD[kind] | {"success": False, "error": ODD[kind]}, correlation_id=plan_id)
    run.file_plan(plan_id, data=ODD[kind])
    assert picture(run, plan_id)["tasks"] == {"odd": "failed"}
    assert json.loads(plan_of(run, plan_id).goal_data) == ODD[kind]


# --- queries ---


def queries(run, *changes):
    with CaptureQueriesContext(
        connection,
    ) as found:
        run.record(*changes)
    return [query["sql"] for query in found]


def requests(run, count, prefix):
    return [run.request_message(f"plan-{n % 10}", f"{prefix}-{n}") for n in range(count)]


def results(run, count, prefix):
    return [
        run.message(
            "action-results", "parts.check.completed", {"task_id": f"{prefix}-{n}", "success": True},
            plan_id=f"plan-{n % 10}", correlation_id=f"{prefix}-{n}",
        )
        for n in range(count)
    ]  # fmt: skip


def reads(run, *changes):
    """How many; fresh keys come in blocks, and are not counted."""
    return len([sql for sql in queries(run, *changes) if sql.startswith("SELECT") and "nextval" not in sql])


def test_a_batch_of_requests_takes_as_many_reads_as_one(run):
    run.record(*requests(run, 10, "first"))
    one, many = reads(run, *requests(run, 1, "one")), reads(run, *requests(run, 100, "many"))
    assert many - one == 9  # the next free name is read once for each of ten plans


def test_a_batch_of_results_takes_as_many_reads_as_one(run):
    run.record(*requests(run, 10, "open"), *requests(run, 1, "one"), *requests(run, 100, "many"))
    assert reads(run, *results(run, 1, "one")) == reads(run, *results(run, 100, "many"))


def test_a_batch_of_tool_results_takes_as_many_reads_as_one(run):
    found = []
    for size in (2, 100):
        names = [f"{size}-{n}" for n in range(size)]
        for place, name in enumerate([*names, *(f"{size}-open-{n}" for n in range(10))]):
            run.request(f"plan-{place % 10}", f"task-{name}", correlation_id=name)
        changes = [
            run.message("action-results", "parts.check.completed", {"success": True}, correlation_id=name)
            for name in names
        ]
        found.append(reads(run, *changes))
    assert found[0] == found[1]


def test_equal_rows_of_other_tenants_change_nothing(run):
    other = Run(run.workspace, tenant="globex")
    row = row_of(run.request("plan", "task"))
    other.request("plan", "task")
    hand(run, row)
    assert [task_of(each, "task").state for each in (run, other)] == ["running", "pending"]
