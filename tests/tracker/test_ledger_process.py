"""The ledger in a process of its own: it answers as the ledger does, whatever becomes of it."""

import asyncio
import os
import pickle
import signal

import pytest
from django.db import DataError

from tests.services.waiting import wait_until
from tests.tracker.factories import plan_of
from tests.tracker.live_client import in_thread
from tests.tracker.runs import unique
from tracker import ledger_process, pool
from tracker.changes import Due, PlanMove
from tracker.errors import Unavailable
from tracker.ledger_process import Ended, LedgerProcess
from tracker.models import LogRow, Plan
from tracker.writer import Writer

# Python 3.12 and later warn of a fork beside other threads; the server forks before it has any.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def process(shared_run):
    """A process of the ledger on the test's database."""
    pool.close_all()
    process = LedgerProcess()
    yield process
    process.end()
    assert not alive(process)


@pytest.fixture
async def connected(process):
    """The same, for a test that speaks to it without a writer."""
    await process.connect()
    yield process
    await process.disconnect()


def alive(process):
    return process._process.is_alive()


@pytest.fixture
async def writer(process):
    """A writer with that process, and the batches that it told of."""
    told = []
    writer = Writer(asyncio.get_running_loop(), told.append, processes=[process])
    yield writer, told
    await writer.close()


async def test_it_answers_as_the_ledger_does(shared_run, connected):
    huge = {"n": 2**70, "text": "ein \ud83d\ude9a", "nul": None}
    request = shared_run.request_message("plan", "task", data=huge)
    batch = await connected.record(
        [request, request, shared_run.change(PlanMove, plan_id="other", to="paused")], listened=True
    )
    assert [(o.result, o.plan_id, o.task_id, o.seq) for o in batch.outcomes] == [
        ("recorded", "plan", "task", 2),
        ("duplicate", "plan", "task", 2),
        ("unknown", "other", "", None),
    ]
    assert (batch.row_count, batch.plan_count, batch.complete) == (4, 1, True)
    plan = await in_thread(lambda: plan_of(shared_run, "plan"))
    assert [(row.plan_key, row.plan_id, row.row["seq"]) for row in batch.rows] == [
        (plan.pk, "plan", n) for n in (1, 2, 3, 4)
    ]
    rows = await in_thread(lambda: list(LogRow.objects.order_by("seq")))
    assert [row.row_id for row in batch.rows] == [row.pk for row in rows]
    [message] = batch.messages
    assert (message.topic, message.type) == ("action-requests", "parts.check.requested")
    assert f'"n":{2**70}' in message.frame


async def test_what_nobody_hears_stays_there(shared_run, connected):
    batch = await connected.record([shared_run.request_message("plan", "task")], listened=False)
    assert (batch.row_count, batch.rows, batch.messages, batch.complete) == (4, [], [], False)


async def test_errors_come_back_as_they_are(shared_run, connected):
    with pytest.raises(AttributeError, match="has no attribute") as caught:
        await connected.record(["nonsense"], listened=True)
    assert "ledger.py" in caught.value.__notes__[0]
    batch = await connected.record([shared_run.request_message("plan", "task")], listened=True)
    assert batch.row_count == 4


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "arrives"),
    [(DataError("too long"), DataError("too long")), (Odd(1, 2), RuntimeError("Odd: 1 and 2"))],
)
def test_an_error_that_does_not_survive_the_way_goes_as_its_text(error, arrives):
    found = pickle.loads(ledger_process._error(error))
    assert (type(found), found.args) == (type(arrives), arrives.args)


async def test_callers_get_their_own_and_what_is_at_home_stays_here(shared_run, writer):
    writer, told = writer
    calls = [writer.commit([shared_run.request_message(f"plan-{n % 3}", f"task-{n}")]) for n in range(30)]
    due = writer.commit([Due(workspace_id=0, tenant_id="", by="system", kind="nothing", subject=1)])
    written = writer.commit([shared_run.change(PlanMove, plan_id="plan-0", to="paused", write=os.getpid)])
    outcomes = await asyncio.gather(*calls, due, written)
    assert [o.task_id for [o] in outcomes[:30]] == [f"task-{n}" for n in range(30)]
    assert outcomes[31][0].value == os.getpid()
    seqs = {row.row["seq"] for batch in told for row in batch.rows if row.plan_id == "plan-1"}
    assert seqs == set(range(1, await in_thread(lambda: plan_of(shared_run, "plan-1").seq) + 1))


async def test_when_it_is_killed_a_thread_goes_on(shared_run, process, writer):
    writer, _ = writer
    await writer.commit([shared_run.request_message("plan", unique("task"))])
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not alive(process), 10, lambda: "its end")
    await process.disconnect()
    with pytest.raises(Ended):
        await process.record([shared_run.request_message("plan", "late")], listened=True)
    [outcome] = await writer.commit([shared_run.request_message("plan", unique("task"))])
    assert (outcome.result, outcome.seq) == ("recorded", 5)
    assert await in_thread(Plan.objects.count) == 1


async def test_killed_while_it_records_nobody_waits_for_ever(shared_run, process, writer):
    writer, _ = writer
    await writer.commit([shared_run.request_message("plan", unique("task"))])
    os.kill(process.pid, signal.SIGSTOP)
    call = asyncio.create_task(writer.commit([shared_run.request_message("plan", unique("task"))]))
    await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await call
    [outcome] = await writer.commit([shared_run.request_message("plan", unique("task"))])
    assert outcome.result == "recorded"
    assert not writer.failing
