"""A plan's stream: contiguous, whatever happens while it is read."""

import asyncio
import json

import orjson
import pytest
from django.db.backends.utils import CursorWrapper

from tests.accounts.factories import make_key, make_workspace
from tests.tracker.live_client import Client, Listener, Writer, committed, in_thread, with_key
from tests.tracker.runs import Run
from tracker.changes import Batch
from tracker.ledger import record
from tracker.live import plan_stream, reads
from tracker.live.hub import hub
from tracker.models import LogRow, Plan
from tracker.projections.snapshots import log_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run():
    return Run(make_workspace())


@pytest.fixture
def headers(run):
    return with_key(make_key(run.workspace, scopes=["read"])[1])


@pytest.fixture
async def live():
    """The hub of this process, running in the test's loop."""
    hub.start()
    yield hub
    await hub.stop()


def messages(run, plan_id, count, start=0):
    """Changes that each bring one row to the plan's log."""
    said = [{"n": number} for number in range(start, start + count)]
    return [run.message("business-facts", "note.taken", data, plan_id=plan_id) for data in said]


async def test_a_snapshot_comes_first_and_then_every_row_once(live, run, headers):
    plan_id, _ = await in_thread(run.plan, 3)
    async with Client(headers) as client:
        first = await client.subscribe(f"plan:{plan_id}")
        head = await client.hear()
        assert (first["op"], first["stream"], len(first["data"]["tasks"])) == ("snapshot", f"plan:{plan_id}", 3)
        assert (head["op"], head["seq"]) == ("head", first["seq"])
        batch = await committed(*messages(run, plan_id, 5))
        rows = await client.hear()
        assert rows["op"] == "rows"
        assert [row["seq"] for row in rows["rows"]] == list(range(first["seq"] + 1, first["seq"] + 6))
        assert rows["rows"][0]["data"] == {"n": 0}
        assert len(batch.rows) == 5
        assert rows["rows"] == await in_thread(stored_rows, plan_id, first["seq"])


def stored_rows(plan_id, after):
    return orjson.loads(orjson.dumps(log_rows(Plan.objects.get(plan_id=plan_id), after, 1000)))


async def test_a_ping_is_answered_behind_what_was_sent_before(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        assert (await client.subscribe(f"plan:{plan_id}"))["op"] == "snapshot"
        await committed(*messages(run, plan_id, 1))
        await client.say(op="ping")
        assert [(await client.hear())["op"] for _ in range(3)] == ["head", "rows", "pong"]
        assert client.frames[-1]["time"].endswith("Z")


async def test_a_replay_says_how_far_the_log_goes(live, run, headers, monkeypatch):
    plan_id, _ = await in_thread(run.plan, 10)
    last = await in_thread(last_seq, plan_id)
    monkeypatch.setattr(reads, "PAGE_ROWS", last - 1)
    async with Client(headers) as client:
        assert (await client.subscribe(f"plan:{plan_id}", after=0))["head"] == last
        assert "head" not in await client.hear()


async def test_a_head_that_is_older_than_what_was_pushed_meanwhile_is_no_set_back(live, run, headers, monkeypatch):
    plan_id, _ = await in_thread(run.plan)
    loop, heads = asyncio.get_running_loop(), reads.heads

    def overtaken(keys):
        found = heads(keys)
        loop.call_soon_threadsafe(hub.push, record(messages(run, plan_id, 3)))
        return found

    monkeypatch.setattr(reads, "heads", overtaken)
    async with Client(headers) as client:
        seq = (await client.subscribe(f"plan:{plan_id}"))["seq"]
        await client.hear_op("head")
        await hub.tell_heads()
        rows, head = await client.hear(), await client.hear()
        assert [row["seq"] for row in rows["rows"]] == [seq + 1, seq + 2, seq + 3]
        assert (head["op"], head["seq"]) == ("head", seq + 3)


async def test_rows_after_a_seq_come_without_a_snapshot(live, run, headers):
    plan_id, _ = await in_thread(run.plan, 10)
    last = await in_thread(last_seq, plan_id)
    async with Client(headers) as client:
        first = await client.subscribe(f"plan:{plan_id}", after=4)
        assert first["op"] == "rows"
        assert [row["seq"] for row in first["rows"]] == list(range(5, last + 1))
        assert (await client.hear())["seq"] == last


async def test_who_has_everything_only_hears_the_head(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    last = await in_thread(last_seq, plan_id)
    async with Client(headers) as client:
        head = await client.subscribe(f"plan:{plan_id}", after=last)
        assert (head["op"], head["seq"]) == ("head", last)


def last_seq(plan_id):
    return Plan.objects.get(plan_id=plan_id).seq


@pytest.mark.parametrize("after", [None, 0, 1])
async def test_nothing_is_missed_while_a_writer_goes_on(live, run, headers, after):
    plan_id, _ = await in_thread(run.plan)
    writer = Writer([messages(run, plan_id, 3, number) for number in range(60)])
    async with Client(headers) as client:
        writer.start()
        first = await client.subscribe(f"plan:{plan_id}", **({} if after is None else {"after": after}))
        seq = first["seq"] if after is None else first["rows"][-1]["seq"]
        start = seq if after is None else after
        got = [] if after is None else [row["seq"] for row in first["rows"]]
        await writer.done()
        last = await in_thread(last_seq, plan_id)
        assert last >= 180
        got += await client.follow(seq, last)
        assert got == list(range(start + 1, last + 1))


async def test_many_pages_are_replayed(live, run, headers, monkeypatch):
    monkeypatch.setattr("tracker.live.reads.PAGE_ROWS", 7)
    plan_id, _ = await in_thread(run.plan, 30)
    last = await in_thread(last_seq, plan_id)
    async with Client(headers) as client:
        await client.say(op="sub", stream=f"plan:{plan_id}", after=0)
        assert await client.follow(0, last) == list(range(1, last + 1))


async def test_commits_told_out_of_order_or_never_heal_from_the_log(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        start = (await client.subscribe(f"plan:{plan_id}"))["seq"]
        await in_thread(run.record, *messages(run, plan_id, 2))  # never told
        second = await in_thread(record, messages(run, plan_id, 2))
        third = await in_thread(record, messages(run, plan_id, 2))
        hub.push(third)
        hub.push(second)
        assert await client.follow(start, start + 6) == list(range(start + 1, start + 7))
        await in_thread(run.record, *messages(run, plan_id, 1))  # never told either, but a head comes
        await hub.tell_heads()
        assert await client.follow(start + 6, start + 7) == [start + 7]


async def test_a_hint_from_another_process_is_enough(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        start = (await client.subscribe(f"plan:{plan_id}"))["seq"]
        await in_thread(run.record, *messages(run, plan_id, 3))
        plan = await in_thread(lambda: Plan.objects.get(plan_id=plan_id))
        hub.heard_of(plan.pk, plan.workspace_id, plan.seq)
        assert await client.follow(start, start + 3) == list(range(start + 1, start + 4))


async def test_looking_again_finds_what_nobody_told(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        start = (await client.subscribe(f"plan:{plan_id}"))["seq"]
        await client.hear_op("head")
        await client.subscribe("plans")
        await in_thread(run.record, *messages(run, plan_id, 3))
        hub.look_again()
        frames = [await client.hear() for _ in range(4)]
        assert sorted(frame["op"] for frame in frames) == ["head", "head", "patch", "rows"]
        rows = next(frame for frame in frames if frame["op"] == "rows")["rows"]
        assert [row["seq"] for row in rows] == list(range(start + 1, start + 4))


async def test_too_far_behind_gets_a_snapshot(live, run, headers, monkeypatch):
    monkeypatch.setattr(plan_stream, "FARTHEST", 5)
    plan_id, _ = await in_thread(run.plan, 6)
    async with Client(headers) as client:
        resync = await client.subscribe(f"plan:{plan_id}", after=0)
        assert (resync["op"], resync["reason"]) == ("resync", "too-far-behind")
        assert (await client.hear())["op"] == "snapshot"


async def test_an_after_beyond_the_log_gets_a_snapshot(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    last = await in_thread(last_seq, plan_id)
    async with Client(headers) as client:
        resync = await client.subscribe(f"plan:{plan_id}", after=last + 1)
        assert (resync["op"], resync["reason"]) == ("resync", "ahead")
        assert (await client.hear())["seq"] == last


async def test_a_pruned_log_gets_a_snapshot(live, run, headers):
    plan_id, _ = await in_thread(run.plan, 6)
    await in_thread(lambda: LogRow.objects.filter(plan__plan_id=plan_id, seq__lte=3).delete())
    async with Client(headers) as client:
        resync = await client.subscribe(f"plan:{plan_id}", after=1)
        assert (resync["op"], resync["reason"]) == ("resync", "pruned")
        assert (await client.hear())["op"] == "snapshot"
        assert (await client.subscribe(f"plan:{plan_id}", after=3))["op"] in {"rows", "head"}


async def test_a_log_that_was_set_back_begins_again(live, run, headers):
    plan_id, _ = await in_thread(run.plan, 4)
    last = await in_thread(last_seq, plan_id)
    async with Client(headers) as client:
        await client.subscribe(f"plan:{plan_id}")
        await client.hear_op("head")
        await in_thread(restore_backup, plan_id, last - 2)
        await hub.tell_heads()
        resync = await client.hear()
        assert (resync["op"], resync["reason"]) == ("resync", "set-back")
        assert (await client.hear())["seq"] == last - 2
        await committed(*messages(run, plan_id, 1))
        assert await client.follow(last - 2, last - 1) == [last - 1]


def restore_backup(plan_id, seq):
    LogRow.objects.filter(plan__plan_id=plan_id, seq__gt=seq).delete()
    Plan.objects.filter(plan_id=plan_id).update(seq=seq)


async def test_subscribing_again_replaces_and_unsubscribing_ends(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    stream = f"plan:{plan_id}"
    async with Client(headers) as client:
        seq = (await client.subscribe(stream))["seq"]
        await client.hear_op("head")
        again = await client.subscribe(stream, after=seq - 1)
        assert [row["seq"] for row in again["rows"]] == [seq]
        await client.hear_op("head")
        await committed(*messages(run, plan_id, 1))
        assert await client.follow(seq, seq + 1) == [seq + 1]
        await client.say(op="unsub", stream=stream)
        await client.subscribe("approvals")
        await committed(*messages(run, plan_id, 1))
        assert hub.counts().subscriptions == 1
        assert (await client.subscribe("agents"))["stream"] == "agents"


async def test_a_plan_with_slashes_in_its_id(live, run, headers):
    plan_id, _ = await in_thread(run.plan, 1, "a/b c:é")
    async with Client(headers) as client:
        assert (await client.subscribe(f"plan:{plan_id}"))["data"]["plan"]["plan_id"] == plan_id


async def test_what_is_asked_wrongly_is_answered_and_the_socket_stays(live, run, headers):
    async with Client(headers) as client:
        await client.say_text("{")
        assert (await client.hear())["code"] == "bad-json"
        await client.say(op="shout")
        assert (await client.hear())["code"] == "unknown-op"
        error = await client.subscribe("plan:none")
        assert (error["op"], error["code"], error["stream"]) == ("error", "not-found", "plan:none")
        assert hub.counts().subscriptions == 0
        assert (await client.subscribe("plans"))["op"] == "snapshot"


async def test_a_thousand_subscribers_cost_one_encoding_and_no_query(live, run, monkeypatch):
    plan_id, _ = await in_thread(run.plan)
    plan = await in_thread(lambda: Plan.objects.get(plan_id=plan_id))
    listeners = [Listener(run) for _ in range(1000)]
    for listener in listeners:
        listener.subscribe(f"plan:{plan_id}", plan.seq)
    await asyncio.gather(*(listener.wait_for(1) for listener in listeners))  # each hears the head
    batches = [await in_thread(record, messages(run, plan_id, 4, number)) for number in range(5)]
    before = hub.counts()
    queries = count_queries(monkeypatch)
    for batch in batches:
        hub.push(batch)
    await asyncio.gather(*(listener.wait_for(6) for listener in listeners))
    after = hub.counts()
    assert (queries, after.frames_encoded - before.frames_encoded) == ([], 5)
    first = listeners[0].sent
    assert all(one is other for listener in listeners for one, other in zip(first[1:], listener.sent[1:], strict=True))
    assert [row["seq"] for text in first[1:] for row in json.loads(text)["rows"]] == [
        plan.seq + n for n in range(1, 21)
    ]
    for listener in listeners:
        await listener.leave()


def count_queries(monkeypatch):
    """From now on every statement of every thread is in this list."""
    statements = []
    execute = CursorWrapper.execute

    def noted(self, sql, params=None):
        statements.append(sql)
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", noted)
    return statements


async def test_a_socket_whose_send_fails_disturbs_nobody(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    seq = await in_thread(last_seq, plan_id)
    broken = Listener(run, error=OSError("gone"))
    broken.subscribe(f"plan:{plan_id}", seq)
    good = Listener(run)
    good.subscribe(f"plan:{plan_id}", seq)
    await good.wait_for(1)
    await committed(*messages(run, plan_id, 2))
    await good.wait_for(2)
    assert [row["seq"] for row in json.loads(good.sent[1])["rows"]] == [seq + 1, seq + 2]
    assert broken.sent == []
    await good.leave()
    await broken.leave()


async def test_a_broken_batch_is_not_the_committers_problem(live, run, headers):
    plan_id, _ = await in_thread(run.plan)
    async with Client(headers) as client:
        await client.subscribe(f"plan:{plan_id}")
        assert hub.push(Batch([], [None], [])) is None
        seq = client.frames[0]["seq"]
        await committed(*messages(run, plan_id, 1))
        assert await client.follow(seq, seq + 1) == [seq + 1]
