"""Figures by name and by time, and the counters that every page shows: those of the rows, at every moment."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Count, Q

from tests.accounts.factories import make_member, make_workspace
from tests.tracker.queries.asking import INVALID, Api
from tests.tracker.runs import Run, unique
from tracker import ledger, rollups
from tracker.changes import TaskMove
from tracker.models import Plan, Task
from tracker.projections.rows import moment
from tracker.states import TASK

CHECK, BOOK = "parts.check.requested", "bay.book.requested"


@pytest.fixture
def api(run):
    return Api(run.workspace)


@pytest.fixture
def worked(db):
    """Twenty checked parts, of which two failed, and a bay that is being booked; one check was tried twice.

    Asked for by a key of theirs. Their times are set by hand, so that no log could rebuild them.
    """
    run = Run(make_workspace())
    plan_id, checks = run.plan(20, plan_id=unique("plan"))
    run.file_plan(plan_id, goal="service")
    for number, task in enumerate(checks):
        run.running(plan_id, task)
        run.result(plan_id, task, status="failed" if number < 2 else "completed")
    run.move(checks[0], "pending")
    run.running(plan_id, checks[0])
    run.result(plan_id, checks[0], status="failed")
    bays, (bay,) = run.plan(1, type=BOOK)
    run.running(bays, bay, source="bay-worker")
    for number, task in enumerate(Task.objects.filter(event_type=CHECK, state="completed").order_by("position")):
        started = task.created_at + timedelta(seconds=number)
        Task.objects.filter(pk=task.pk).update(started_at=started, ended_at=started + timedelta(seconds=10 + number))
    return Api(run.workspace)


def test_an_agents_figures(worked):
    told = worked.ok("/metrics", agent_id="parts-worker", period="1h")
    assert (told["total_tasks"], told["completed_tasks"], told["failed_tasks"], told["open_tasks"]) == (20, 18, 2, 0)
    assert (told["success_rate"], told["throughput_per_hour"], told["retries"]) == (0.9, 18, 1)
    assert told["work_seconds"] == {"avg": 18.5, "p50": 18.0, "p95": 27.0, "p99": 27.0}
    assert told["avg_duration_seconds"] == 18.5
    assert told["queue_seconds"]["p95"] == 16.0


@pytest.mark.parametrize("counted", [False, True])
def test_a_report_by_each(worked, counted):
    api = worked
    if counted:
        rollups.catch_up()
    told = {by: api.ok("/metrics", by=by, period="1h")["items"] for by in ("agent", "task_type", "goal", "workspace")}
    totals = {by: [(item["name"], item["total_tasks"]) for item in items] for by, items in told.items()}
    assert totals == {
        "agent": [("parts-worker", 20), ("bay-worker", 1)],
        "task_type": [(CHECK, 20), (BOOK, 1)],
        "goal": [("service", 20), ("", 1)],
        "workspace": [(told["workspace"][0]["name"], 21)],
    }
    assert told["task_type"][0]["work_seconds"] == {"avg": 18.5, "p50": 18.0, "p95": 27.0, "p99": 27.0}
    assert told["workspace"][0]["open_tasks"] == 1
    assert api.ok("/metrics", by="agent", period="1h", limit=1)["items"] == told["agent"][:1]


def test_a_report_in_buckets(run, api):
    run.plan(3)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    real = dict(Task.objects.values_list("pk", "created_at"))
    for task, hours in zip(Task.objects.order_by("pk"), (0.5, 0.75, 20), strict=True):
        Task.objects.filter(pk=task.pk).update(created_at=midnight - timedelta(days=1) + timedelta(hours=hours))
    asked = {"since": moment(midnight - timedelta(days=1)), "until": moment(midnight)}
    [item] = api.ok("/metrics", by="task_type", bucket="1h", **asked)["items"]
    assert [(bucket["at"], bucket["total_tasks"]) for bucket in item["series"]] == [
        (moment(midnight - timedelta(days=1)), 2),
        (moment(midnight - timedelta(hours=4)), 1),
    ]
    [item] = api.ok("/metrics", by="task_type", bucket="1d", **asked)["items"]
    assert [bucket["total_tasks"] for bucket in item["series"]] == [3] == [item["total_tasks"]]
    asked["until"] = moment(midnight - timedelta(hours=23.4))
    [item] = api.ok("/metrics", by="task_type", **asked)["items"]
    assert (item["total_tasks"], "series" in item) == (1, False)
    for key, at in real.items():
        Task.objects.filter(pk=key).update(created_at=at)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"by": "colour"},
        {"by": "agent", "since": "yesterday"},
        {"by": "agent", "since": "2026-11-24T10:00:00"},
        {"by": "agent", "since": "2026-11-24T10:00:00Z", "until": "2026-11-24T10:00:00Z"},
        {"by": "agent", "period": "1 day"},
        {"by": "agent", "bucket": "15m"},
        {"by": "agent", "bucket": "1h", "period": "100d"},
        {"by": "agent", "limit": 0},
    ],
)
def test_what_cannot_be_asked(run, api, asked):
    assert api.problem("/metrics", **asked) == INVALID


def test_a_report_costs_the_same_for_1_name_and_for_30(run, api, django_assert_max_num_queries):
    def cost():
        with django_assert_max_num_queries(100) as queries:
            api.ok("/metrics", by="agent", period="1h", bucket="1h")
        return len(queries)

    def add(count):
        for _ in range(count):
            plan_id, (task,) = run.plan()
            run.running(plan_id, task, source=unique("agent"))
        rollups.catch_up()

    add(1)
    cost()
    before = cost()
    add(30)
    assert cost() == before


# --- counters on pages ------------------------------------------------------------------------------------------------

FINAL = {"completed", "cancelled"}  # which few may reach, or nothing would move any more
MOVES = {state: [move.target for move in TASK.moves if move.source == state] for state in TASK.states}


def random_moves(luck, run, states, number):
    """So many legal moves of random tasks, among them some that the table refuses."""
    changes = []
    for _ in range(number):
        task = luck.choice(list(states))
        on = [to for to in MOVES[states[task]] if to not in FINAL or luck.random() < 0.02]
        to = luck.choice(on) if on and luck.random() < 0.95 else luck.choice(list(TASK.open_states))
        if TASK.move(states[task], to):
            states[task] = to
        changes.append(run.change(TaskMove, task_id=task, to=to))
    return changes


def test_counters_equal_counts_of_rows_through_10_000_moves(run, client):
    luck = random.Random(6)
    client.force_login(make_member(run.workspace, role="viewer").user)
    states = {task: "pending" for _ in range(10) for task in run.plan(30)[1]}
    moved = Task.objects.count()
    while moved < 10_000:
        batch = ledger.record(random_moves(luck, run, states, 400))
        moved += sum(outcome.result == "recorded" for outcome in batch.outcomes)
        assert_counters_true(client)
        if luck.random() < 0.3:
            rollups.catch_up()
    assert dict(Task.objects.values_list("task_id", "state")) == states


def assert_counters_true(client):
    ends = ("completed", "failed", "cancelled")
    rows = Plan.objects.annotate(
        n=Count("tasks"), **{f"n_{end}": Count("tasks", filter=Q(tasks__state=end)) for end in ends}
    )
    counted = {row[0]: row[1:] for row in rows.values_list("plan_id", "n", *(f"n_{end}" for end in ends))}
    columns = ("task_count", *(f"{end}_tasks" for end in ends))
    items = client.get("/plans").context["items"]
    assert {item["plan_id"]: tuple(item[name] for name in columns) for item in items} == counted
    by_state = dict(Task.objects.order_by().values_list("state").annotate(n=Count("id")))
    assert rollups.state_counts() == {state: by_state.get(state, 0) for state in TASK.states}
    waiting = client.get("/agents").context["waiting"]
    assert sum(queue["count"] for queue in waiting) == by_state.get("pending", 0)
    page = client.get("/metrics-page").context["whole"]
    assert (page["total_tasks"], *(page[f"{end}_tasks"] for end in ends)) == (
        sum(by_state.values()),
        *(by_state.get(end, 0) for end in ends),
    )
