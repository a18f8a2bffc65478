"""Kept counts equal counting again, at any moment, whatever was counted when."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.accounts.factories import make_workspace
from tests.tracker.recount import figures, recounted
from tests.tracker.runs import Run, unique
from tests.tracker.stalls import Stall
from tracker import rollups
from tracker.models import LogRow, Plan, Rollup, RollupDue, RollupHead, Task
from tracker.projections.lookup import Sight
from tracker.rollups import EVER, HOUR, Which
from tracker.states import TASK

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
AGENTS, TYPES, GOALS = ("anna", "ben", "carl"), ("parts.check.requested", "bay.book.requested"), ("service", "sale")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of few tasks, so that there are many of them."""
    monkeypatch.setattr(rollups, "SIZE", 4)


class Doings:
    """Random things that happen to the tasks of two tenants."""

    def __init__(self, run, seed):
        self.luck = random.Random(seed)
        self.runs = [run, Run(run.workspace, "globex", "bob")]
        self.tasks = []  # (run, plan_id, task_id)

    def one(self):
        """One change or a few."""
        luck = self.luck
        if len(self.tasks) < 6 or luck.random() < 0.25:
            run = luck.choice(self.runs)
            plan_id, ids = run.plan(luck.randrange(1, 4), type=luck.choice(TYPES))
            self.tasks += [(run, plan_id, task) for task in ids]
            return
        run, plan_id, task = luck.choice(self.tasks)
        agent = luck.choice(AGENTS)
        what = luck.randrange(9)
        if what < 3:
            run.running(plan_id, task, source=agent, state=luck.choice(("running", "waiting", "in_review")))
        elif what < 5:
            run.result(plan_id, task, source=agent, status=luck.choice(("completed", "completed", "failed")))
        elif what == 5:
            run.move(task, luck.choice(("pending", "cancelled", "running", "awaiting_approval")))
        elif what == 6:
            run.record(run.change(Stall, task_id=task, stalled=luck.random() < 0.7))
        elif what == 7:
            run.progress(plan_id, task, luck.random())
        else:
            run.file_plan(plan_id, goal=luck.choice(GOALS))


def views(workspace):
    """All that may be asked of a workspace."""
    times = sorted(rollups.micros(at) for at in Task.objects.values_list("created_at", flat=True)) or [0]
    middle = times[len(times) // 2]
    for sight in (Sight(workspace.pk), Sight(workspace.pk, "acme"), Sight(workspace.pk, "globex")):
        for kind in rollups.KINDS:
            if kind != Rollup.Kind.INSTANCE:
                yield Which(sight, kind)
        yield Which(sight, "agent", ("anna", "ben"), since=middle)
        yield Which(sight, "task_type", TYPES[:1], until=middle)
    yield Which(Sight(make_workspace().pk), "task_type")


def assert_equal_to_counting_again(workspace):
    for which in views(workspace):
        assert figures(rollups.read(which)) == recounted(which), which
    assert rollups.state_counts() == {state: Task.objects.filter(state=state).count() for state in TASK.states}


@pytest.mark.parametrize("seed", [1, 2])
def test_at_any_moment(run, small_blocks, seed):
    doings = Doings(run, seed)
    for step in range(120):
        doings.one()
        if doings.luck.random() < 0.3:
            rollups.follow()
        if doings.luck.random() < 0.3 and (some := list(RollupDue.objects.values_list("block", flat=True))):
            rollups.count(doings.luck.choice(some))
        if step % 10 == 0:
            assert_equal_to_counting_again(run.workspace)
    rollups.catch_up()
    assert not RollupDue.objects.exists()
    assert_equal_to_counting_again(run.workspace)
    run.workspace.refresh_from_db()


def test_what_is_counted_is_not_read_again(run, django_assert_max_num_queries):
    _, tasks = run.plan(3)
    which = Which(Sight(run.workspace.pk), "task_type")
    rollups.catch_up()
    [found] = rollups.read(which).values()
    assert found.of(0).total == 3
    # Behind the back of the log nothing is noticed: the cells are what is read.
    Task.objects.filter(task_id=tasks[0]).update(event_type="unnoticed")
    assert list(rollups.read(which)) == ["parts.check.requested"]
    Task.objects.filter(task_id=tasks[0]).update(event_type="parts.check.requested")


def test_tasks_that_came_without_the_ledger_are_found(run, small_blocks):
    plan_id, _ = run.plan(2)
    rollups.catch_up()
    plan = Plan.objects.get(plan_id=plan_id)
    now = plan.created_at
    Task.objects.bulk_create(
        Task(
            # The last one far away, as when another table was restored: a gap is not made of blocks.
            pk=10**9 if n == 8 else None,
            plan=plan, workspace=run.workspace, tenant_id=run.tenant, task_id=unique("t"), name="x", label="x",
            event_type="filled", state="completed", agent="anna", position=100 + n,
            created_at=now, started_at=now, ended_at=now + timedelta(seconds=n), updated_at=now,
        )
        for n in range(9)
    )  # fmt: skip
    assert_equal_to_counting_again(run.workspace)
    rollups.follow()
    assert RollupDue.objects.count() < 12
    rollups.catch_up()
    assert Rollup.objects.filter(name="filled").exists()
    assert_equal_to_counting_again(run.workspace)
    Task.objects.filter(event_type="filled").delete()
    RollupHead.objects.all().delete()


def test_deleted_plans_are_counted_out(run, small_blocks):
    plan_id, _ = run.plan(3)
    run.plan(2)
    rollups.catch_up()
    plan = Plan.objects.get(plan_id=plan_id)
    rollups.count_again([plan.pk])
    LogRow.objects.filter(plan=plan).delete()
    plan.delete()
    assert_equal_to_counting_again(run.workspace)
    rollups.catch_up()
    assert_equal_to_counting_again(run.workspace)


def test_buckets(run, small_blocks):
    run.plan(6)
    start = 1_764_000_000 * 1_000_000 // (24 * HOUR) * (24 * HOUR)
    for n, task in enumerate(Task.objects.order_by("id")):
        task.created_at = BEGINNING + timedelta(microseconds=start + n * 5 * HOUR)
        task.save(update_fields=["created_at"])
    which = Which(Sight(run.workspace.pk), "task_type", since=start + HOUR, until=start + 30 * HOUR)
    for _ in range(2):
        for bucket in (HOUR, 24 * HOUR):
            assert figures(rollups.read(which, bucket)) == recounted(which, bucket)
        days = rollups.read(which, 24 * HOUR)["parts.check.requested"].buckets
        assert {number - start // (24 * HOUR): tally.total for number, tally in days.items()} == {0: 4, 1: 1}
        rollups.catch_up()
    for task, at in zip(
        Task.objects.order_by("id"), LogRow.objects.filter(type="task.created").order_by("id"), strict=True
    ):
        Task.objects.filter(pk=task.pk).update(created_at=at.recorded_at)


def test_everything_at_once_is_the_widest_window():
    assert EVER[0] < 0 < EVER[1]
