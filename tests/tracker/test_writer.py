"""Group commit on a real event loop: who is answered when, and with what."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, OperationalError, connection

from tests.tracker.factories import plan_of
from tracker import writer as writers
from tracker.changes import PlanFiled
from tracker.errors import Unavailable
from tracker.models import LogRow, Plan
from tracker.writer import Writer


@pytest.fixture
async def open_writer(shared_run):
    """A writer of this test's loop and the batches that it told of."""
    told = []
    writer = Writer(asyncio.get_running_loop(), told.append)
    yield writer, told
    await writer.close()


def filing(run, plan_id, write=None):
    return run.change(PlanFiled, plan_id=plan_id, user_id="alice", goal_event="g", goal_data={}, write=write)


def raising(error):
    def write():
        raise error

    return write


class Gate:
    """A write that holds the writer until it is opened; `reached` is set when it stands there."""

    def __init__(self):
        self.reached, self._open = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self._open.wait(30)

    def open(self):
        self._open.set()


async def held(writer, run, changes=1):
    """A writer that stands before a gate; gives the gate and the task that waits for it."""
    gate = Gate()
    batch = [filing(run, "gate", gate), *(filing(run, f"gate-{n}") for n in range(changes - 1))]
    waiting = asyncio.create_task(writer.commit(batch))
    assert await asyncio.to_thread(gate.reached.wait, 30)
    return gate, waiting


async def test_a_caller_is_answered_after_the_commit_and_the_telling(shared_run, open_writer):
    writer, told = open_writer
    [outcome] = await writer.commit([shared_run.request_message("plan", "task")])
    assert (outcome.result, outcome.seq) == ("recorded", 2)
    assert [[row.row["seq"] for row in batch.rows] for batch in told] == [[1, 2, 3, 4]]
    plan = await sync_to_async(plan_of)(shared_run, "plan")
    assert (plan.task_count, plan.seq) == (1, 4)


async def test_what_waits_is_committed_together_and_everybody_gets_his_own_answer(shared_run, open_writer):
    writer, told = open_writer
    gate, first = await held(writer, shared_run)
    calls = [
        asyncio.create_task(
            writer.commit([shared_run.request_message(f"plan-{n % 7}", f"task-{n}-{m}") for m in range(2)])
        )
        for n in range(100)
    ]
    await asyncio.sleep(0)
    assert told == []
    gate.open()
    outcomes = await asyncio.gather(*calls)
    await first
    assert [[o.task_id for o in each] for each in outcomes] == [[f"task-{n}-0", f"task-{n}-1"] for n in range(100)]
    assert [len(batch.outcomes) for batch in told] == [1, 200]


async def test_more_than_a_batch_holds_is_several(shared_run, open_writer):
    writer, told = open_writer
    gate, first = await held(writer, shared_run)
    calls = [
        asyncio.create_task(writer.commit([shared_run.request_message("plan", f"task-{n}")]))
        for n in range(writers.MOST + 1)
    ]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *calls)
    assert [len(batch.outcomes) for batch in told] == [1, writers.MOST, 1]


@pytest.mark.parametrize("error", [ValueError("odd"), DataError("too long"), RecursionError("deep")])
async def test_one_failing_job_does_not_sink_the_others(shared_run, open_writer, error):
    writer, _ = open_writer
    gate, first = await held(writer, shared_run)
    calls = [
        asyncio.create_task(writer.commit([filing(shared_run, f"plan-{n}", raising(error) if n == 3 else None)]))
        for n in range(8)
    ]
    await asyncio.sleep(0)
    gate.open()
    answers = await asyncio.gather(first, *calls, return_exceptions=True)
    assert answers.pop(4) is error
    assert [[o.result for o in each] for each in answers] == [["recorded"]] * 8
    names = await sync_to_async(lambda: sorted(Plan.objects.values_list("plan_id", flat=True)))()
    assert names == ["gate", *(f"plan-{n}" for n in range(8) if n != 3)]


async def test_a_failing_change_takes_all_of_its_own_job_back(shared_run, open_writer):
    writer, _ = open_writer
    with pytest.raises(ValueError, match="odd"):
        await writer.commit([filing(shared_run, "one"), filing(shared_run, "two", raising(ValueError("odd")))])
    assert await sync_to_async(LogRow.objects.count)() == 0


async def test_a_database_that_is_away_is_unavailable_to_all_and_comes_back(shared_run, open_writer):
    writer, told = open_writer
    gate, first = await held(writer, shared_run)
    away = raising(OperationalError("server closed the connection"))
    calls = [asyncio.create_task(writer.commit([filing(shared_run, f"p-{n}", away if n else None)])) for n in range(3)]
    await asyncio.sleep(0)
    gate.open()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert answers[0].headers == {"Retry-After": "1"}
    await first
    [outcome] = await writer.commit([filing(shared_run, "after")])
    assert (outcome.result, len(told)) == ("recorded", 2)


async def test_a_lost_connection_is_made_anew(shared_run, open_writer):
    writer, _ = open_writer
    with pytest.raises(Unavailable):
        # A connection that was closed under the writer, as by a server that goes away.
        await writer.commit([filing(shared_run, "lost", lambda: (connection.connection.close(), raise_away()))])
    [outcome] = await writer.commit([filing(shared_run, "found")])
    assert outcome.result == "recorded"


def raise_away():
    raise OperationalError("the connection is lost")


async def test_a_full_queue_is_unavailable_and_has_room_again(shared_run, open_writer, settings):
    writer, _ = open_writer
    settings.WRITER_QUEUE = 5
    gate, first = await held(writer, shared_run, changes=2)
    calls = [asyncio.create_task(writer.commit([filing(shared_run, f"plan-{n}")])) for n in range(3)]
    await asyncio.sleep(0)
    for changes in ([filing(shared_run, "one")], [filing(shared_run, f"much-{n}") for n in range(9)]):
        with pytest.raises(Unavailable):
            await writer.commit(changes)
    gate.open()
    await asyncio.gather(first, *calls)
    # An empty queue takes whatever comes.
    assert len(await writer.commit([filing(shared_run, f"much-{n}") for n in range(9)])) == 9
    names = await sync_to_async(lambda: set(Plan.objects.values_list("plan_id", flat=True)))()
    assert "one" not in names


async def test_room_is_made_before_the_callers_are_answered(shared_run, open_writer, settings):
    writer, _ = open_writer
    settings.WRITER_QUEUE = 1
    for number in range(20):
        await writer.commit([filing(shared_run, f"plan-{number}")])
        await asyncio.to_thread(writer.commit_from_thread, [filing(shared_run, f"other-{number}")])


async def test_a_caller_that_went_away_hinders_nobody(shared_run, open_writer):
    writer, _ = open_writer
    gate, first = await held(writer, shared_run)
    gone, stays = (asyncio.create_task(writer.commit([filing(shared_run, name)])) for name in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    gate.open()
    assert [(await each)[0].plan_id for each in (first, stays)] == ["gate", "stays"]
    assert await sync_to_async(Plan.objects.filter(plan_id="gone").exists)()


async def test_threads_and_the_loop_share_the_writer(shared_run, open_writer):
    writer, _ = open_writer
    threads = [
        asyncio.to_thread(writer.commit_from_thread, [shared_run.request_message("plan", f"thread-{n}")])
        for n in range(20)
    ]
    calls = [writer.commit([shared_run.request_message("plan", f"loop-{n}")]) for n in range(20)]
    outcomes = await asyncio.gather(*threads, *calls)
    assert sorted(o.task_id for [o] in outcomes) == sorted(
        f"{kind}-{n}" for kind in ("thread", "loop") for n in range(20)
    )
    with pytest.raises(ValueError, match="odd"):
        await asyncio.to_thread(writer.commit_from_thread, [filing(shared_run, "x", raising(ValueError("odd")))])


async def test_closing_writes_what_waits_and_takes_nothing_more(shared_run):
    writer = Writer(asyncio.get_running_loop(), lambda batch: None)
    gate, first = await held(writer, shared_run)
    calls = [asyncio.create_task(writer.commit([filing(shared_run, f"plan-{n}")])) for n in range(10)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(writer.close())
    gate.open()
    await asyncio.gather(first, closing, *calls)
    with pytest.raises(Unavailable):
        await writer.commit([filing(shared_run, "late")])
    with pytest.raises(Unavailable):
        await asyncio.to_thread(writer.commit_from_thread, [filing(shared_run, "late")])
    assert await sync_to_async(Plan.objects.count)() == 11
