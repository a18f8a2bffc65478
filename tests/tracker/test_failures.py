"""Failures are written down when they happen, once each, in the transaction that records them."""

import importlib

import pytest
from django.apps import apps
from django.db import connection

from tests.tracker.factories import plan_of
from tests.tracker.runs import unique
from tracker import ledger
from tracker.changes import TaskMove
from tracker.models import Failure, LogRow


def kept(run, plan_id):
    """(task, attempt, agent, type, error type, message) of a plan's failures in order."""
    failures = plan_of(run, plan_id).failures.order_by("seq").select_related("task")
    return [
        (f.task.name if f.task else None, f.attempt, f.agent, f.type, f.error_type, f.message) for f in failures
    ]  # fmt: skip


def fails(run, plan_id, task_id, error):
    return run.result(plan_id, task_id, status="failed", error=error)


def test_a_failed_task(run):
    plan_id, (task_id, _) = run.plan(2)
    fails(run, plan_id, task_id, "ValueError: no part 'BRK-17'")
    assert kept(run, plan_id) == [
        ("parts-check", 1, "parts-worker", "parts.check.requested", "ValueError", "no part <value>")
    ]
    [failure] = Failure.objects.filter(plan__plan_id=plan_id)
    row = plan_of(run, plan_id).log.get(seq=failure.seq)
    assert (row.to_state, row.task_id, row.recorded_at) == ("failed", failure.task_id, failure.failed_at)
    assert failure.error == "ValueError: no part 'BRK-17'"


def test_each_attempt_that_failed(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "disk 1 is full")
    run.move(task_id, "pending")
    fails(run, plan_id, task_id, "disk 2 is full")
    assert [attempt for _, attempt, *_ in kept(run, plan_id)] == [1, 2]
    assert len(set(Failure.objects.filter(plan__plan_id=plan_id).values_list("fingerprint"))) == 1


def test_attempts_within_one_batch(run):
    plan_id, (task_id,) = run.plan()
    moves = [("running", ""), ("failed", "a"), ("pending", ""), ("running", ""), ("failed", "b")]
    run.record(*(run.change(TaskMove, task_id=task_id, to=to, error=error) for to, error in moves))
    assert [(attempt, message) for _, attempt, *_, message in kept(run, plan_id)] == [(1, "a"), (2, "b")]


def test_told_twice_it_is_one(run):
    plan_id, (task_id,) = run.plan()
    message = run.message(
        "action-results", "parts.check.failed", {"task_id": task_id}, plan_id=plan_id, correlation_id=task_id
    )
    assert [outcome.result for outcome in (*run.record(message), *run.record(message))] == ["recorded", "duplicate"]
    assert len(kept(run, plan_id)) == 1


def test_a_plan_that_somebody_ended(run):
    plan_id = unique("plan")
    run.file_plan(plan_id)
    run.say("system-events", "plan.failed", {"error": "out of memory at 0x3f"}, source="fleet", plan_id=plan_id)
    assert kept(run, plan_id) == [(None, None, "fleet", "maintenance.goal", "", "out of memory at <hex>")]


def test_a_plan_that_closed_on_its_own_is_told_by_its_tasks(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "no stock")
    assert plan_of(run, plan_id).state == "failed"
    assert [task for task, *_ in kept(run, plan_id)] == ["parts-check"]


def test_a_task_that_failed_with_the_plan_that_carries_it_out(run):
    """It fails when plans are closed, after all else in the batch."""
    outer, inner = unique("outer"), unique("inner")
    run.request(outer, f"{outer}-t", "repair.goal", response_event="", correlation_id=inner)
    run.file_plan(inner, goal="repair.goal")
    run.request(inner, f"{inner}-t", "weld.requested")
    run.result(inner, f"{inner}-t", status="failed", error="torch broken")
    assert kept(run, outer) == [("repair-goal", 1, "", "repair.goal", "", f"plan {_n(inner)} carried it out")]


def _n(text):
    return text.rstrip("0123456789") + "<n>"


@pytest.mark.parametrize("state", ["completed", "cancelled"])
def test_what_ends_otherwise_is_none(run, state):
    plan_id, (task_id,) = run.plan()
    run.move(task_id, "running")
    run.move(task_id, state)
    assert kept(run, plan_id) == []


def test_what_is_not_committed_is_not_kept(run, monkeypatch):
    plan_id, (task_id,) = run.plan()

    def broken(world):
        raise OSError("disk gone")

    monkeypatch.setattr(ledger, "_witnesses", [*ledger._witnesses, broken])
    with pytest.raises(OSError, match="disk gone"):
        fails(run, plan_id, task_id, "no stock")
    assert kept(run, plan_id) == []


def test_while_nothing_fails_nothing_is_asked(run, django_assert_max_num_queries):
    plan_id, tasks = run.plan(2)
    with django_assert_max_num_queries(40) as counted:
        run.result(plan_id, tasks[0])
    assert not [query for query in counted.captured_queries if "tracker_failure" in query["sql"]]


def test_any_number_of_failures_is_one_statement(run, django_assert_max_num_queries):
    plan_id, tasks = run.plan(20)
    messages = [
        run.message("action-results", "parts.check.failed", {"task_id": task}, plan_id=plan_id, correlation_id=task)
        for task in tasks
    ]
    with django_assert_max_num_queries(60) as counted:
        run.record(*messages)
    assert len([query for query in counted.captured_queries if 'INSERT INTO "tracker_failure' in query["sql"]]) == 1
    assert len(kept(run, plan_id)) == 20


def test_what_failed_before_there_was_a_table(run):
    """The migration finds in the logs what the ledger would have written down."""
    plan_id, (one, other, _) = run.plan(3)
    fails(run, plan_id, one, "ValueError: no part 'x'")
    run.move(one, "pending")
    fails(run, plan_id, one, "disk 2 is full")
    fails(run, plan_id, other, "")
    run.say("system-events", "plan.failed", {"error": "gave up"}, source="fleet", plan_id=plan_id)
    columns = [field.attname for field in Failure._meta.concrete_fields if field.name != "id"]
    before = list(Failure.objects.order_by("plan_id", "seq").values(*columns))
    assert len(before) == 4
    Failure.objects.all().delete()
    importlib.import_module("tracker.migrations.0004_failures").keep_older(apps, connection.schema_editor())
    assert list(Failure.objects.order_by("plan_id", "seq").values(*columns)) == before


def test_they_go_with_their_plan(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "no stock")
    plan = plan_of(run, plan_id)
    LogRow.objects.filter(plan=plan).delete()
    plan.delete()
    assert not Failure.objects.filter(workspace=run.workspace).exists()
