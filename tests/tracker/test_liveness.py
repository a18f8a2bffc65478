"""Tasks that stall: their agent is gone, was started anew, is silent, or they do not get on. In the ledger alone."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.tracker.factories import log, task_of
from tests.tracker.lively import NAME, Worker, marks, pass_time, stall
from tracker import deadlines
from tracker.changes import Handover, Progress, ServerBegins, ServerLives
from tracker.models import Deadline, LogRow


@pytest.fixture
def worker(run):
    """Registered, connected."""
    return Worker(run).register().connect()


@pytest.fixture
def held(run, worker):
    """A task that the worker holds."""
    _, (task_id,) = run.plan()
    worker.take(task_id)
    return task_id


def test_what_an_agent_holds_stalls_when_its_connection_is_gone_for_the_grace(run, worker, held):
    worker.leave()
    pass_time(run, 4)
    assert stall(run, held) == ""
    pass_time(run, 1)
    assert stall(run, held) == "disconnected"
    assert task_of(run, held).state == "running"
    assert marks(run, held) == [("task.stalled", f"the connection of {worker.agent_id} was lost")]


def test_only_running_tasks_of_this_instance_stall(run, worker):
    other = Worker(run).register().connect()
    _, tasks = run.plan(4)
    worker.take(tasks[0], tasks[1])
    other.take(tasks[2])
    run.move(tasks[1], "in_review")
    worker.leave()
    pass_time(run, 6)
    assert [stall(run, task) for task in tasks] == ["disconnected", "", "", ""]


def test_a_reconnect_within_the_grace_leaves_no_trace(run, worker, held):
    worker.leave()
    pass_time(run, 4)
    worker.connect("stream-2")
    pass_time(run, 60)
    assert marks(run, held) == []


def test_a_reconnect_takes_the_mark_away(run, worker, held):
    worker.leave()
    pass_time(run, 6)
    worker.connect("stream-2")
    assert stall(run, held) == ""
    assert [type for type, _ in marks(run, held)] == ["task.stalled", "task.alive"]
    worker.leave("stream-2")
    pass_time(run, 6)
    assert stall(run, held) == "disconnected"


def test_the_end_of_an_older_stream_is_no_loss(run, worker, held):
    worker.connect("stream-2")
    worker.leave("stream-1")
    pass_time(run, 60)
    assert stall(run, held) == ""


def test_another_stream_of_the_same_instance_takes_over(run, worker, held):
    worker.leave("stream-1", heir="stream-0")
    pass_time(run, 60)
    assert stall(run, held) == ""
    worker.leave("stream-0")
    pass_time(run, 6)
    assert stall(run, held) == "disconnected"


def test_an_agent_that_is_started_anew_knows_nothing_of_its_tasks(run, worker, held):
    worker.leave()
    worker.register()
    assert stall(run, held) == "restarted"
    worker.connect("stream-2")
    pass_time(run, 60)
    assert stall(run, held) == "restarted"
    assert worker.presence.life == 2
    assert marks(run, held) == [("task.stalled", f"{worker.agent_id} was started anew")]


def test_a_mark_for_a_lost_connection_becomes_one_for_a_new_life(run, worker, held):
    worker.leave()
    pass_time(run, 6)
    since = task_of(run, held).stalled_at
    worker.register().connect("stream-2")
    assert stall(run, held) == "restarted"
    assert task_of(run, held).stalled_at == since
    assert len(marks(run, held)) == 1  # it had stalled before


def test_what_a_new_life_is_given_has_not_stalled(run, worker, held):
    worker.leave()
    worker.register().connect("stream-2")
    _, (fresh,) = run.plan()
    worker.take(fresh)
    pass_time(run, 60)
    assert (stall(run, held), stall(run, fresh)) == ("restarted", "")


def test_registering_once_more_while_connected_is_the_same_life(run, worker, held):
    pass_time(run, 60)
    worker.register()
    pass_time(run, 60)
    worker.leave()
    worker.connect("stream-2")
    assert stall(run, held) == ""
    assert worker.presence.life == 1


def test_a_new_life_whose_old_stream_was_not_seen_to_end(run, worker, held):
    worker.register().connect("stream-2")
    assert stall(run, held) == "restarted"
    worker.leave("stream-1")
    assert worker.presence.connection == "stream-2"


def test_a_new_life_that_registers_a_moment_before_the_old_stream_ends(run, worker, held):
    worker.register()
    worker.leave()
    assert stall(run, held) == "restarted"


def test_after_a_start_of_the_server_agents_have_longer(run, worker, held):
    run.record(run.change(ServerBegins, process=2, alone=True))
    pass_time(run, 80)
    assert stall(run, held) == ""
    worker.connect("stream-2", process=2)
    pass_time(run, 200)
    assert marks(run, held) == []


def test_after_a_start_of_the_server_who_does_not_come_back_is_gone(run, worker, held):
    run.record(run.change(ServerBegins, process=2, alone=True))
    pass_time(run, 91)
    assert stall(run, held) == "disconnected"


def test_a_grace_that_ran_out_while_no_server_was_there_begins_anew(run, worker, held):
    worker.leave()
    Deadline.objects.update(due_at=datetime.now(UTC) - timedelta(hours=1))
    run.record(run.change(ServerBegins, process=2, alone=True))
    assert deadlines.overdue(datetime.now(UTC)) == []
    worker.connect("stream-2", process=2)
    pass_time(run, 100)
    assert stall(run, held) == ""


def test_who_connected_before_the_start_was_recorded_is_there(run, worker, held):
    worker.connect("stream-2", process=2)
    run.record(run.change(ServerBegins, process=2, alone=True))
    pass_time(run, 60)
    assert worker.presence.connection == "stream-2"


def test_a_heartbeat_after_the_loss_of_the_connection_is_a_sign_of_life(run, worker, held):
    run.record(run.change(ServerBegins, process=2, alone=True))
    pass_time(run, 60)
    worker.beat()
    pass_time(run, 60)
    assert marks(run, held) == []
    pass_time(run, 31)
    assert stall(run, held) == "disconnected"
    worker.beat()
    assert stall(run, held) == ""


def test_heartbeats_that_stay_out_while_the_connection_seems_to_be_there(run, worker, held):
    worker.beat()
    pass_time(run, 80)
    assert stall(run, held) == ""
    pass_time(run, 11)
    assert stall(run, held) == "silent"
    assert marks(run, held) == [("task.stalled", f"no heartbeat of {worker.agent_id} for 90 s")]
    worker.beat()
    assert stall(run, held) == ""


def test_what_a_silent_agent_is_given_stalls_too(run, worker, held):
    worker.beat()
    pass_time(run, 91)
    _, (later,) = run.plan()
    worker.take(later)
    pass_time(run, 91)
    assert stall(run, later) == "silent"


def test_heartbeats_keep_an_agent_alive(run, worker, held):
    for _ in range(5):
        worker.beat()
        pass_time(run, 60)
    assert marks(run, held) == []


def test_who_never_sent_a_heartbeat_has_as_long_as_the_registry_gives(run, worker, held):
    pass_time(run, 290)
    assert stall(run, held) == ""
    pass_time(run, 11)
    assert stall(run, held) == "silent"


def test_one_of_several_processes_dies(run, worker, held):
    begin = [run.change(ServerBegins, process=process, alone=False) for process in (1, 2)]
    run.record(*begin)
    worker.leave("stream-1")
    worker.connect("stream-2", process=1)
    pass_time(run, 20)
    assert run.record(run.change(ServerLives, process=2))[0].value is False
    pass_time(run, 11)
    assert worker.presence.connection == ""
    pass_time(run, 80)
    assert stall(run, held) == ""
    pass_time(run, 11)
    assert stall(run, held) == "disconnected"


def test_a_process_that_was_taken_for_dead_hears_of_it(run, worker, held):
    run.record(run.change(ServerBegins, process=1, alone=False))
    pass_time(run, 31)
    assert worker.presence.connection == ""
    assert run.record(run.change(ServerLives, process=1))[0].value is True
    worker.connect("stream-1")
    pass_time(run, 29)
    assert marks(run, held) == []


def test_a_start_beside_another_process_takes_nobody_for_lost(run, worker, held):
    run.record(run.change(ServerBegins, process=1, alone=False))
    worker.leave()
    run.record(run.change(ServerBegins, process=2, alone=False))
    pass_time(run, 6)
    assert stall(run, held) == "disconnected"


@pytest.mark.parametrize("sign", ["message", "progress", "result", "report"])
def test_any_word_about_a_task_takes_the_mark_away(run, worker, held, sign):
    plan_id = task_of(run, held).plan.plan_id
    worker.leave()
    worker.register()
    assert stall(run, held) == "restarted"
    if sign == "message":
        run.say("business-facts", "parts.counted", {"task_id": held}, plan_id=plan_id)
    elif sign == "progress":
        run.progress(plan_id, held, 0.0, "")
    elif sign == "result":
        run.result(plan_id, held)
    else:
        run.record(run.change(Progress, task_id=held, message="still at it"))
    assert stall(run, held) == ""
    moved = sign == "result"
    assert [type for type, _ in marks(run, held)] == ["task.stalled"] + ["task.alive"] * (not moved)


def test_a_refused_message_is_no_sign_of_life(run, worker, held):
    worker.leave()
    worker.register()
    run.progress(task_of(run, held).plan.plan_id, held, 7)
    assert stall(run, held) == "restarted"


def test_a_thousand_and_some_tasks_of_one_agent_stall(run, worker):
    _, tasks = run.plan(1100)
    worker.take(*tasks)
    worker.leave()
    pass_time(run, 6)
    assert run.workspace.task_set.filter(stalled_reason="disconnected").count() == 1100


def test_requests_that_were_never_sent_go_on_with_the_new_life(run, worker, held):
    worker.leave()
    worker.register().connect("stream-2")
    row = LogRow.objects.get(task__task_id=held, kind="message")
    worker.tell(Handover, row_ids=[row.pk], name=NAME, group_id=worker.group.pk, cursor=row.pk, again=True)
    assert stall(run, held) == ""
    assert [r.reason for r in log(run, task_of(run, held).plan.plan_id)][-1] == (
        "its first connection ended before it was sent"
    )
