"""What falls due does so once, at its time, and nobody asks for it in between."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.accounts.factories import closing_connection
from tests.services.waiting import wait_until_async
from tests.tracker.live_client import in_thread
from tests.tracker.served import served
from tracker import deadlines, ledger, timer
from tracker.changes import Change, Due, Outcome
from tracker.errors import Unavailable
from tracker.models import Deadline
from tracker.runtime import runtime
from tracker.writer import commit

KIND, BROKEN = "test.bell", "test.broken"
FAR = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class Wind(Change):
    """Sets deadlines, `None` takes one back."""

    bells: dict[tuple[str, int], datetime | None]


def wind(world, change):
    world.deadlines |= change.bells
    return Outcome("recorded")


rung = []


def broken(world, subject):
    raise RuntimeError("this bell is broken")


ledger.register_change(Wind, wind)
deadlines.register(KIND, lambda world, subject: rung.append(subject))
deadlines.register(BROKEN, broken)


@pytest.fixture(autouse=True)
def nothing_rung(transactional_db):
    rung.clear()


def at(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def winding(**bells):
    """Changes that set bells `b1=0.2` (seconds from now)."""
    named = {(KIND, int(name[1:])): None if seconds is None else at(seconds) for name, seconds in bells.items()}
    return [Wind(workspace_id=0, tenant_id="", by="system", bells=named)]


def due(subject, kind=KIND):
    return Due(workspace_id=0, tenant_id="", by="system", kind=kind, subject=subject)


async def have_rung(*subjects):
    async def rang():
        return len(rung) >= len(subjects)

    await wait_until_async(rang, 10, lambda: f"{subjects}, not {rung}")
    assert rung == list(subjects)


def reads():
    return runtime.timer._reader.count


async def test_bells_ring_in_their_order_each_once():
    async with served():
        await commit(winding(b1=0.3, b2=0.1, b3=86400))
        await have_rung(2, 1)
        await commit(winding(b4=0))
        await have_rung(2, 1, 4)
    assert list(await in_thread(lambda: list(Deadline.objects.values_list("subject", flat=True)))) == [3]


async def test_between_two_deadlines_nothing_is_read():
    """Each ringing reads what is due and which is the nearest; the time in between costs nothing."""
    before = reads()
    async with served():
        await commit(winding(b1=0.2))
        await have_rung(1)
        await commit(winding(b2=0.5))
        await have_rung(1, 2)
        start, ring = 2, 2

        async def all_read():
            return reads() - before >= start + 2 * ring

        await wait_until_async(all_read)
        assert reads() - before == start + 2 * ring


async def test_it_ends_in_the_very_moment_in_which_it_is_told_of_a_deadline():
    """What is told and what is cancelled come together: neither may swallow the other."""

    async def asleep():
        return bool(runtime.timer._wake._waiters)

    for turns in range(4):
        async with served():
            await commit(winding(b1=86400))
            await wait_until_async(asleep, 10)
            runtime.timer.told(at(3600))
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await runtime.timer.stop()


async def test_a_deadline_taken_back_or_moved_does_not_ring_at_its_old_time():
    async with served():
        await commit(winding(b1=0.2, b2=0.2))
        await commit(winding(b1=None, b2=0.6))
        await commit(winding(b3=0.4))
        await have_rung(3, 2)


async def test_what_fell_due_while_no_server_ran_rings_at_the_start():
    await in_thread(ledger.record, winding(b1=-3600, b2=-60, b3=86400))
    async with served():
        await have_rung(1, 2)


async def test_more_than_one_batch_at_once(monkeypatch):
    monkeypatch.setattr(deadlines, "MOST_DUE", 10)
    await in_thread(ledger.record, winding(**{f"b{n}": -100 + n for n in range(35)}))
    async with served():
        await have_rung(*range(35))


async def test_one_that_cannot_be_acted_upon_keeps_nobody_else_from_ringing():
    bells = {(BROKEN, 7): at(-1), (KIND, 1): at(-1), (KIND, 2): at(-1)}
    await in_thread(ledger.record, [Wind(workspace_id=0, tenant_id="", by="system", bells=bells)])
    async with served():

        async def both():
            return sorted(rung) == [1, 2]

        await wait_until_async(both)

        async def later():
            left = await in_thread(lambda: list(Deadline.objects.values_list("kind", "due_at")))
            return len(left) == 1 and left[0][0] == BROKEN and left[0][1] > at(30)

        await wait_until_async(later)


async def test_the_timer_goes_on_when_the_database_was_away(monkeypatch):
    monkeypatch.setattr(timer, "RETRY_SECONDS", 0.05)
    real, failures = timer.writer.commit, iter([Unavailable("away"), Unavailable("away")])

    async def failing(changes):
        if any(isinstance(change, Due) for change in changes) and (error := next(failures, None)):
            raise error
        return await real(changes)

    async with served():
        monkeypatch.setattr(timer.writer, "commit", failing)
        await real(winding(b1=0))
        await have_rung(1)


async def test_a_clock_that_jumps_is_seen(monkeypatch):
    """The wait is for a moment of the clock, which is looked at now and then, and not for so many seconds."""
    monkeypatch.setattr(timer, "CLOCK_SECONDS", 0.05)
    jump = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + jump

    async with served():
        monkeypatch.setattr(timer, "datetime", Clock)
        monkeypatch.setattr(ledger, "datetime", Clock)
        await commit(winding(b1=3600))
        assert rung == []
        jump = timedelta(hours=2)
        await have_rung(1)


def test_two_who_act_on_the_same_deadlines_ring_each_once():
    ledger.record(winding(**{f"b{n}": -1 for n in range(50)}))
    some = [due(n) for n in range(50)]
    with ThreadPoolExecutor(4) as pool:
        batches = [pool.submit(closing_connection, ledger.record, some) for _ in range(4)]
        results = [[outcome.result for outcome in batch.result(60).outcomes] for batch in batches]
    assert sorted(rung) == list(range(50))
    for n in range(50):
        assert sorted(result[n] for result in results) == ["duplicate"] * 3 + ["recorded"]


def test_who_comes_too_early_leaves_it():
    ledger.record(winding(b1=60))
    assert ledger.record([due(1)]).outcomes[0].result == "duplicate"
    assert Deadline.objects.count() == 1


def test_what_is_due_is_gone_only_with_the_commit():
    ledger.record(winding(b1=-1))
    Deadline.objects.create(kind=BROKEN, subject=2, due_at=at(-1))
    with pytest.raises(RuntimeError):
        ledger.record([due(1), due(2, BROKEN)])
    assert set(Deadline.objects.values_list("kind", "subject")) == {(KIND, 1), (BROKEN, 2)}


def test_the_nearest_the_pending_and_the_putting_off():
    assert deadlines.nearest() is None
    ledger.record(winding(b1=-60, b2=60))
    assert deadlines.nearest() < at(-50)
    assert [one.subject for one in deadlines.overdue(datetime.now(UTC))] == [1]
    assert deadlines.pending(KIND, subject=2)
    assert not deadlines.pending(KIND, subject=3)
    assert deadlines.pending(KIND, after=at(50))
    assert not deadlines.pending(KIND, after=at(70))
    deadlines.put_off_until(at(30), {KIND})
    assert deadlines.overdue(datetime.now(UTC)) == []
    assert at(25) < deadlines.nearest() < at(31)


async def test_the_end_of_the_server_ends_the_timer():
    async with served():
        await commit(winding(b1=86400))
        task = runtime.timer._task
    assert task.done()
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "timer"]
