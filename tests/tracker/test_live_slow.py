"""Readers that do not keep up: bounded, told, and let go; nobody else waits for them."""

import asyncio
import json

import pytest

from tests.accounts.factories import make_workspace
from tests.services.waiting import wait_until_async
from tests.tracker.live_client import Listener, committed, in_thread
from tests.tracker.runs import Run
from tracker.live import connection as connections
from tracker.live.hub import hub
from tracker.live.protocol import encode
from tracker.models import Plan

pytestmark = pytest.mark.django_db(transaction=True)
TOO_SLOW = 4008
LIMIT = 20_000


@pytest.fixture
def run():
    return Run(make_workspace())


@pytest.fixture
async def live():
    """The hub of this process, running in the test's loop."""
    hub.start()
    yield hub
    await hub.stop()


@pytest.fixture
async def plan(run):
    plan_id, _ = await in_thread(run.plan)
    return await in_thread(lambda: Plan.objects.get(plan_id=plan_id))


def heard(listener):
    return [json.loads(text) for text in listener.sent]


async def write(run, plan, count, size=1000):
    """Commit rows of about `size` bytes, one a commit."""
    for number in range(count):
        await committed(
            run.message("business-facts", "note.taken", {"n": number, "x": "x" * size}, plan_id=plan.plan_id)
        )


async def test_an_overflow_becomes_a_resync_and_a_snapshot(live, run, plan):
    gate = asyncio.Event()
    slow, quick = Listener(run, gate=gate, limit=LIMIT), Listener(run)
    for listener in (slow, quick):
        listener.subscribe(f"plan:{plan.plan_id}", plan.seq)
    await quick.wait_for(1)
    most = 0
    for _ in range(60):
        await write(run, plan, 1)
        most = max(most, slow.connection.waiting)
    await quick.wait_for(61)
    assert slow.sent == []
    assert most <= LIMIT + 200  # and the few bytes that say `resync`
    gate.set()
    async with asyncio.timeout(10):
        while not heard(slow) or heard(slow)[-1]["op"] != "head":
            await slow.wait_for(len(slow.sent) + 1)
    frames = heard(slow)
    ops = [frame["op"] for frame in frames]
    assert ops[-3:] == ["resync", "snapshot", "head"]
    assert (frames[-3]["reason"], frames[-2]["seq"]) == ("overflow", plan.seq + 60)
    # What came before is contiguous, what comes after goes on from the snapshot.
    before = [row["seq"] for frame in frames if frame["op"] == "rows" for row in frame["rows"]]
    assert before == list(range(plan.seq + 1, plan.seq + 1 + len(before)))
    count = len(slow.sent)
    await write(run, plan, 1)
    await slow.wait_for(count + 1)
    assert [row["seq"] for row in heard(slow)[-1]["rows"]] == [plan.seq + 61]


async def test_who_falls_behind_twice_is_let_go(live, run, plan):
    gate = asyncio.Event()
    slow = Listener(run, gate=gate, limit=LIMIT)
    slow.subscribe(f"plan:{plan.plan_id}", plan.seq)
    await write(run, plan, 60)
    gate.set()
    async with asyncio.timeout(10):
        while not heard(slow) or heard(slow)[-1]["op"] != "head":
            await slow.wait_for(len(slow.sent) + 1)
    gate.clear()
    await write(run, plan, 60)
    assert not slow.connection.open
    gate.set()
    await slow.connection.ended()
    assert slow.closed_with == TOO_SLOW


async def test_a_list_that_does_not_fit_becomes_a_resync_and_a_snapshot(live, run, plan):
    gate = asyncio.Event()
    slow = Listener(run, gate=gate, limit=2000)
    slow.subscribe("plans")
    quick = Listener(run)
    quick.subscribe("plans")
    await quick.wait_for(1)
    while not any(text for text in quick.sent if '"op":"patch"' in text) or len(quick.sent) < 6:
        await write(run, plan, 1)
        await quick.wait_for(len(quick.sent) + 1)
    gate.set()
    async with asyncio.timeout(10):
        while [frame["op"] for frame in heard(slow)][-2:] != ["resync", "snapshot"]:
            await slow.wait_for(len(slow.sent) + 1)
    assert heard(slow)[-1]["data"]["items"][0]["seq"] == (await in_thread(lambda: Plan.objects.get(pk=plan.pk))).seq


async def test_a_socket_that_takes_nothing_is_cut(live, run, plan, monkeypatch):
    monkeypatch.setattr(connections, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.0)
    stuck = Listener(run, gate=asyncio.Event())
    stuck.subscribe(f"plan:{plan.plan_id}", plan.seq)
    await write(run, plan, 1)
    await wait_until_async(lambda: stuck_is_cut(stuck), what="the socket to be cut")
    assert stuck.sent == []


async def stuck_is_cut(stuck):
    stuck.connection.close_if_stuck()
    return not stuck.connection.open and stuck.connection.waiting == 0


async def test_answers_that_nobody_reads_end_the_socket(live, run):
    gate = asyncio.Event()
    mute = Listener(run, gate=gate, limit=2000)
    told = 0
    while mute.connection.open and told < 1000:
        mute.connection.tell("error", code="bad-json", detail="a frame is one JSON object")
        told += 1
    assert told < 100
    gate.set()
    await mute.connection.ended()
    assert mute.closed_with == TOO_SLOW


async def test_a_frame_of_any_size_fits_an_empty_buffer(live, run):
    gate = asyncio.Event()
    listener = Listener(run, gate=gate, limit=1000)
    large, small = encode("rows", x="x" * 5000), encode("rows", x="x")
    assert listener.connection.offer("plan:p", large)
    assert not listener.connection.offer("plan:p", small)
    waiting = asyncio.create_task(listener.connection.put("plan:p", small))
    gate.set()
    await waiting
    await listener.wait_for(2)
    assert listener.sent == [large.text, small.text]


async def test_snapshots_larger_than_the_buffer_are_sent_one_at_a_time(live, run):
    plans = [await in_thread(run.plan, 40) for _ in range(3)]
    listener = Listener(run, limit=1000)
    for plan_id, _ in plans:
        listener.subscribe(f"plan:{plan_id}")
    async with asyncio.timeout(10):
        while sum(frame["op"] == "snapshot" for frame in heard(listener)) < 3:
            await listener.wait_for(len(listener.sent) + 1)
    assert listener.connection.open
    assert "resync" not in {frame["op"] for frame in heard(listener)}


async def test_readers_that_never_read_hold_little_each(live, run, plan):
    never = asyncio.Event()
    stuck = [Listener(run, gate=never) for _ in range(20)]
    quick = Listener(run)
    for listener in (*stuck, quick):
        listener.subscribe(f"plan:{plan.plan_id}", plan.seq)
    await quick.wait_for(1)
    await write(run, plan, 100, size=20_000)  # 2 MB for each
    await quick.wait_for(101)
    assert sum(listener.connection.waiting for listener in stuck) < 20_000_000
    assert [listener.sent for listener in stuck] == [[]] * 20
    for listener in stuck:
        await listener.leave()
