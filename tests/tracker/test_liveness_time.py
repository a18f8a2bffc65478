"""The time that a task may take without getting on."""

import pytest

from tests.tracker.factories import task_of
from tests.tracker.lively import Worker, marks, pass_time, stall
from tracker.changes import Due, Progress
from tracker.models import Deadline


@pytest.fixture
def worker(run):
    return Worker(run).register().connect()


def timed(run, worker, seconds=10, plan_id=None):
    """A running task that may go so long without progress."""
    _, (task_id,) = run.plan(plan_id=plan_id, data={"timeout": seconds})
    worker.take(task_id)
    return task_id


@pytest.fixture
def task_id(run, worker):
    return timed(run, worker)


def plan_id(run, task_id):
    return task_of(run, task_id).plan.plan_id


def test_without_progress_a_task_stalls_when_its_time_is_over(run, task_id):
    pass_time(run, 9)
    assert stall(run, task_id) == ""
    pass_time(run, 1)
    assert stall(run, task_id) == "no-progress"
    assert marks(run, task_id) == [("task.stalled", "no progress for 10 s")]
    assert task_of(run, task_id).state == "running"


def test_progress_gives_it_its_time_again_and_takes_the_mark_away(run, task_id):
    pass_time(run, 9)
    run.progress(plan_id(run, task_id), task_id, 0.1)
    pass_time(run, 9)
    assert stall(run, task_id) == ""
    pass_time(run, 2)
    assert stall(run, task_id) == "no-progress"
    run.record(run.change(Progress, task_id=task_id, progress=0.2))
    assert stall(run, task_id) == ""
    pass_time(run, 11)
    assert [type for type, _ in marks(run, task_id)] == ["task.stalled", "task.alive", "task.stalled"]


def test_the_same_progress_again_is_life_but_no_progress(run, task_id):
    for _ in range(4):
        run.progress(plan_id(run, task_id), task_id, 0.5, "still at it")
        run.record(run.change(Progress, task_id=task_id, progress=0.5))
        pass_time(run, 4)
    assert stall(run, task_id) == "no-progress"
    run.progress(plan_id(run, task_id), task_id, 0.5, "still at it, really")
    assert stall(run, task_id) == "no-progress"


def test_a_heartbeat_and_a_new_stream_are_no_progress(run, worker, task_id):
    pass_time(run, 11)
    worker.leave()
    worker.connect("stream-2").beat()
    assert stall(run, task_id) == "no-progress"


def test_nothing_heard_of_a_task_whose_agent_is_away(run, worker, task_id, settings):
    settings.STALL_GRACE_SECONDS = 100
    worker.leave()
    pass_time(run, 11)
    assert stall(run, task_id) == "silent"
    assert marks(run, task_id) == [
        ("task.stalled", f"nothing heard of it, or of {worker.agent_id}, for 10 s"),
    ]
    worker.connect("stream-2")
    assert stall(run, task_id) == ""
    pass_time(run, 11)
    assert stall(run, task_id) == "no-progress"


@pytest.mark.parametrize("state", ["in_review", "awaiting_approval"])
def test_a_person_may_take_long(run, task_id, state):
    run.move(task_id, state)
    pass_time(run, 100)
    assert stall(run, task_id) == ""
    run.move(task_id, "running")
    pass_time(run, 11)
    assert stall(run, task_id) == "no-progress"


def test_waiting_counts(run, task_id):
    run.move(task_id, "waiting")
    pass_time(run, 11)
    assert stall(run, task_id) == "no-progress"


def test_a_request_that_nobody_has_taken_has_not_stalled(run):
    _, (task_id,) = run.plan(data={"timeout": 10})
    pass_time(run, 100)
    assert stall(run, task_id) == ""


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_an_ended_task_needs_no_time(run, task_id, end):
    run.move(task_id, end)
    assert not Deadline.objects.filter(kind="task.quiet").exists()


def test_each_attempt_has_its_time(run, worker, task_id):
    pass_time(run, 11)
    run.move(task_id, "pending")
    assert stall(run, task_id) == ""
    worker.take(task_id)
    pass_time(run, 9)
    assert stall(run, task_id) == ""
    pass_time(run, 2)
    assert stall(run, task_id) == "no-progress"
    assert task_of(run, task_id).attempt == 2


@pytest.mark.parametrize("said", [True, "10", 0, -1, None, [], {"seconds": 10}, 1e400])
def test_a_timeout_that_is_no_number_above_zero_is_none(run, said):
    _, (task_id,) = run.plan(data={"timeout": said})
    assert task_of(run, task_id).timeout is None


@pytest.mark.parametrize(("said", "kept"), [(2.5, 2.5), (7, 7.0), (1e300, 315360000.0)])
def test_a_timeout_is_kept_in_seconds(run, said, kept):
    _, (task_id,) = run.plan(data={"timeout": said})
    assert task_of(run, task_id).timeout == kept


def test_a_delegated_task_is_judged_by_its_sub_tasks(run, worker, task_id):
    plan = plan_id(run, task_id)
    run.delegate(plan, task_id, ["sub-1", "sub-2"])
    assert task_of(run, task_id).state == "delegated"
    pass_time(run, 8)
    run.progress(plan, "sub-1", 0.5)
    pass_time(run, 8)
    assert stall(run, task_id) == ""
    pass_time(run, 3)
    assert stall(run, task_id) == "no-progress"
    run.running(plan, "sub-2")
    assert stall(run, task_id) == ""
    assert marks(run, task_id)[-1] == ("task.alive", "one of its sub-tasks has moved")


def test_the_loss_of_its_agent_is_nothing_to_a_delegated_task(run, worker, task_id):
    run.delegate(plan_id(run, task_id), task_id, ["sub-1"])
    worker.leave()
    pass_time(run, 6)
    assert stall(run, task_id) == ""


def queries(count, work):
    with count() as counted:
        work()
    return len(counted)


@pytest.fixture
def count(django_assert_max_num_queries):
    return lambda: django_assert_max_num_queries(1000)


def test_a_task_without_a_time_costs_no_query_for_it(run, worker, count):
    """With one, it is a statement for its deadline, however many."""
    found = {}
    for timeout in (None, 10):
        for size in (1, 40):
            _, tasks = run.plan(size, data={"timeout": timeout})
            found[timeout, size] = queries(count, lambda: worker.take(*tasks))  # noqa: B023
    assert found[None, 1] == found[None, 40]
    assert found[10, 1] == found[10, 40] <= found[None, 1] + 1


def test_many_deadlines_take_the_queries_of_one(run, worker, count):
    found = []
    for size in (1, 1, 40):  # what the first one finds out is kept
        _, tasks = run.plan(size, data={"timeout": 10})
        worker.take(*tasks)
        Deadline.objects.filter(kind="task.quiet").update(due_at="2020-01-01T00:00Z")
        some = [
            Due(workspace_id=0, tenant_id="", by="system", kind="task.quiet", subject=key)
            for key in Deadline.objects.filter(kind="task.quiet").values_list("subject", flat=True)
        ]
        found.append(queries(count, lambda: run.record(*some)))  # noqa: B023
        assert {stall(run, task) for task in tasks} == {"no-progress"}
    assert found[1] == found[2]
