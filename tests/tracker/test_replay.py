"""A plan's log alone rebuilds its plan and tasks; a snapshot is true at one seq."""

import random
import threading

import orjson
import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from tests.accounts.factories import make_workspace
from tests.tracker.runs import Run
from tracker.models import LogRow, Plan, Task
from tracker.projections.lookup import one_moment
from tracker.projections.replay import COUNTERS, replay, seq_at, steps_of
from tracker.projections.rows import moment
from tracker.projections.snapshots import log_rows, plan_items, plan_snapshot

pytestmark = pytest.mark.django_db

PLAN_TEXT = (
    "state",
    "goal_event",
    "goal_data",
    "current_state",
    "session_id",
    "parent_plan_id",
    "trace_id",
    "planner",
    "user_id",
    "error",
)
PLAN_COUNTS = ("seq", "version", "task_count", "completed_tasks", "failed_tasks", "cancelled_tasks")
TASK_FIELDS = (
    "state",
    "version",
    "attempt",
    "agent",
    "agent_id",
    "name",
    "event_type",
    "progress",
    "message",
    "stalled",
    "error",
    "position",
)


@pytest.fixture
def run():
    return Run(make_workspace())


def tables(plan):
    """What the tables say of a plan, in the words of a replay."""
    plan.refresh_from_db()
    of_plan = {name: getattr(plan, name) for name in PLAN_TEXT + PLAN_COUNTS}
    of_plan |= {name: moment(getattr(plan, name)) for name in ("created_at", "started_at", "completed_at")}
    tasks = {}
    for task in Task.objects.filter(plan=plan).select_related("parent").order_by("position"):
        tasks[task.task_id] = {name: getattr(task, name) for name in TASK_FIELDS} | {
            "parent_task_id": task.parent and task.parent.task_id,
            **{name: moment(getattr(task, name)) for name in ("created_at", "started_at", "ended_at")},
        }
    return of_plan, tasks


def rebuilt(plan):
    state = replay(steps_of(plan))
    of_plan = {
        name: state.plan[name] for name in (*PLAN_TEXT, *PLAN_COUNTS, "created_at", "started_at", "completed_at")
    }
    names = (*TASK_FIELDS, "parent_task_id", "created_at", "started_at", "ended_at")
    return of_plan, {task_id: {name: task[name] for name in names} for task_id, task in state.tasks.items()}


def assert_rebuilt():
    assert Plan.objects.exists()
    for plan in Plan.objects.all():
        (plan_then, tasks_then), (plan_now, tasks_now) = rebuilt(plan), tables(plan)
        assert plan_then == plan_now
        assert tasks_then == tasks_now
        assert list(tasks_then) == list(tasks_now)


def test_a_run_with_everything_in_it(run):
    plan_id, (first, second, third, fourth) = run.plan(4, session_id="talk", trace_id="trace")
    run.running(plan_id, first)
    run.progress(plan_id, first, 0.25, "a quarter")
    run.delegate(plan_id, first, ["sub-a", "sub-b"], group="group")
    run.result(plan_id, "sub-a", "stock.count.completed")
    run.result(plan_id, "sub-b", "stock.count.completed")
    run.result(plan_id, first)
    run.result(plan_id, second, status="failed", error="no such part")
    run.move(second, "pending")
    run.result(plan_id, second)
    run.result(plan_id, second)  # refused: it is completed
    run.move(third, "cancelled", reason="not wanted")
    run.move(fourth, "awaiting_approval")
    run.result(plan_id, fourth)
    run.request(plan_id, "late")
    assert_rebuilt()


def test_a_plan_that_its_context_governs(run):
    run.say(
        "action-requests",
        "maintenance.goal",
        {"vehicle": "V1"},
        correlation_id="corr",
        id="goal",
        response_event="maintenance.completed",
    )
    run.file_plan("corr", data={"vehicle": "V1"}, session_id="talk")
    run.context("corr", status="pending", current_state="start", correlation_ids=["corr"])
    run.say("action-requests", "parts.check.requested", correlation_id="corr", response_event="parts.check.completed")
    run.context("corr", status="running", current_state="parts_check")
    run.say(
        "action-results",
        "parts.check.completed",
        {"task_id": "made-up", "status": "completed"},
        source="parts-worker",
        correlation_id="corr",
    )
    run.context("corr", status="completed", current_state="done")
    run.file_plan("child", parent_plan_id="corr")
    assert_rebuilt()
    assert Plan.objects.get(plan_id="corr").state == "completed"


@pytest.mark.parametrize("seed", range(5))
def test_messages_in_any_order(run, seed):
    plan_id = "plan"
    messages = []
    for number in range(6):
        task_id = f"task-{number}"
        ask = run.request_message(plan_id, task_id, id=f"ask-{number}")
        said = {"task_id": task_id, "status": "failed" if number == 3 else "completed"}
        answer = run.message(
            "action-results",
            "parts.check.completed",
            said,
            source="w",
            correlation_id=task_id,
            plan_id=plan_id,
            id=f"answer-{number}",
        )
        messages += [ask, answer, answer]
    random.Random(seed).shuffle(messages)
    run.record(*messages[:7])
    run.record(*messages[7:])
    assert_rebuilt()


def test_the_past_is_what_it_was(run):
    plan_id, tasks = run.plan(3)
    plan = Plan.objects.get(plan_id=plan_id)
    pictures = [(plan.seq, tables(plan))]
    for task_id in tasks:
        run.result(plan_id, task_id)
        plan.refresh_from_db()
        pictures.append((plan.seq, tables(plan)))
    for seq, (plan_then, tasks_then) in pictures:
        state = replay(steps_of(plan, seq))
        assert {name: state.plan[name] for name in plan_then} == plan_then
        assert {key: {name: task[name] for name in tasks_then[key]} for key, task in state.tasks.items()} == tasks_then
        last = LogRow.objects.get(plan=plan, seq=seq)
        assert seq_at(plan, last.recorded_at) == seq
    first = LogRow.objects.get(plan=plan, seq=1)
    assert seq_at(plan, first.recorded_at.replace(year=2000)) == 0


def test_counters_follow_every_change_of_state(run):
    plan_id, (task_id,) = run.plan(1)
    counted = []
    for state in ("running", "failed", "pending", "cancelled"):
        run.move(task_id, state)
        plan = replay(steps_of(Plan.objects.get(plan_id=plan_id))).plan
        counted.append([plan[name] for name in COUNTERS.values()])
    assert counted == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_plan_tasks_spans_and_the_newest_rows(run):
    plan_id, (first, second) = run.plan(2)
    run.running(plan_id, first)
    run.result(plan_id, first)
    plan = Plan.objects.get(plan_id=plan_id)
    snapshot = orjson.loads(orjson.dumps(plan_snapshot(plan, log_rows=3)))
    assert list(snapshot) == ["plan", "tasks", "log"]
    assert set(snapshot["plan"]) == {
        "plan_id", "goal_event", "goal_data", "state", "current_state", "session_id", "parent_plan_id", "trace_id",
        "seq", "version", "task_count", "completed_tasks", "failed_tasks", "cancelled_tasks", "open_tasks",
        "created_at", "started_at", "completed_at", "updated_at", "error", "tenant_id", "user_id", "planner", "held",
    }  # fmt: skip
    assert set(snapshot["tasks"][0]) == {
        "task_id", "name", "event_type", "state", "version", "attempt", "agent", "parent_task_id", "progress",
        "message", "stalled", "stalled_reason", "stalled_at", "error", "position", "created_at", "started_at",
        "ended_at", "spans",
    }  # fmt: skip
    assert [row["seq"] for row in snapshot["log"]] == [plan.seq - 2, plan.seq - 1, plan.seq]
    assert snapshot["log"] == orjson.loads(orjson.dumps(log_rows(plan, plan.seq - 3, 10)))
    spans = {task["task_id"]: task["spans"] for task in snapshot["tasks"]}
    assert [state for state, _ in spans[first]] == ["pending", "running", "completed"]
    assert [state for state, _ in spans[second]] == ["pending"]
    assert [at for _, at in spans[first]] == sorted(at for _, at in spans[first])


def test_a_snapshot_costs_as_much_for_one_task_as_for_many(run):
    def cost(plan_id):
        with CaptureQueriesContext(connection) as captured:
            plan_snapshot(Plan.objects.get(plan_id=plan_id))
        return len(captured)

    few, _ = run.plan(1)
    many, _ = run.plan(60)
    assert cost(few) == cost(many) == 5


def test_lines_of_a_list_cost_one_query(run):
    for _ in range(20):
        run.plan(2)
    plans = list(Plan.objects.order_by("id"))
    with CaptureQueriesContext(connection) as captured:
        items = plan_items(plans)
    assert len(captured) == 1
    assert [item["plan_id"] for item in items] == [plan.plan_id for plan in plans]


@pytest.mark.django_db(transaction=True)
def test_a_snapshot_is_of_one_moment_while_others_write(run):
    plan_id, tasks = run.plan(30)
    plan = Plan.objects.get(plan_id=plan_id)

    def work():
        try:
            for task_id in tasks:
                run.result(plan_id, task_id)
        finally:
            connections.close_all()

    writer = threading.Thread(target=work)
    writer.start()
    seen = set()
    while writer.is_alive():
        snapshot = plan_snapshot(plan, log_rows=1)
        seq = snapshot["plan"]["seq"]
        seen.add(seq)
        done = sum(task["state"] == "completed" for task in snapshot["tasks"])
        assert snapshot["plan"]["completed_tasks"] == done
        assert snapshot["log"][0]["seq"] == seq
        assert all(task["spans"][-1][0] == task["state"] for task in snapshot["tasks"])
    writer.join()
    assert plan_snapshot(plan)["plan"]["completed_tasks"] == 30
    assert len(seen) > 1


@pytest.mark.django_db(transaction=True)
def test_reading_one_moment_leaves_the_connection_as_it_was(run):
    plan_id, (task_id,) = run.plan(1)
    with one_moment():
        before = Task.objects.get(task_id=task_id).state
        other = threading.Thread(target=lambda: (run.result(plan_id, task_id), connections.close_all()))
        other.start()
        other.join(timeout=30)  # the writer does not wait for the reader
        assert not other.is_alive()
        assert Task.objects.get(task_id=task_id).state == before == "pending"
    assert Task.objects.get(task_id=task_id).state == "completed"
    with pytest.raises(ZeroDivisionError), one_moment():
        _ = 1 / 0
    Task.objects.filter(task_id=task_id).update(message="writable again")
