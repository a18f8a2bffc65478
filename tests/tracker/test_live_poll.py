"""The streams by long-poll: the same frames, one answer at a time."""

import asyncio
import json
from urllib.parse import urlencode

import pytest
from django.db.backends.utils import CursorWrapper

from accounts.models import ApiKey, Membership, Role
from tests.accounts.factories import browser_of, make_key, make_member, make_workspace
from tests.services.waiting import wait_until_async
from tests.tracker.live_client import PATIENCE, Writer, committed, in_thread
from tests.tracker.runs import Run
from tests.tracker.served import code, served
from tracker import ledger
from tracker.live import plan_stream
from tracker.live.hub import hub
from tracker.live.poll import MOST_STREAMS, live_poll
from tracker.models import LogRow, Plan
from tracker.runtime import runtime

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run():
    return Run(make_workspace())


@pytest.fixture
def token(run):
    return make_key(run.workspace, scopes=["read"])[1]


@pytest.fixture
async def http(token):
    """A client of the application, with a key."""
    async with served() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        client.timeout = PATIENCE
        yield client


async def ask(http, *streams, wait=0, **query):
    """The frames of an answer; a stream is a name, or a name and what is known of it."""
    pairs = [(each, "") if isinstance(each, str) else each for each in streams]
    params = [pair for name, after in pairs for pair in (("stream", name), ("after", str(after)))]
    response = await http.get("/v1/live", params=[*params, ("wait", str(wait)), *query.items()])
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json()["time"].endswith("Z")
    return response.json()["frames"]


def ops(frames):
    return [(frame["op"], frame["stream"]) for frame in frames]


def notes(run, plan_id, count):
    """Changes that each bring one row to the plan's log."""
    return [run.message("business-facts", "note.taken", {"n": n}, plan_id=plan_id) for n in range(count)]


async def waiting_polls(count):
    """Wait until so many polls go along with their plans."""

    async def joined():
        members = [member for stream in hub._plans.values() for member in stream.members]
        return len(members) == count and all(member._held is None for member in members)

    await wait_until_async(joined)


async def last_seq(plan_id):
    return await in_thread(lambda: Plan.objects.get(plan_id=plan_id).seq)


async def test_a_plan_comes_as_a_snapshot_then_as_rows_then_as_a_head(http, run):
    plan_id, _ = await in_thread(run.plan, 3)
    stream = f"plan:{plan_id}"
    (first,) = await ask(http, stream)
    assert (first["op"], first["stream"], len(first["data"]["tasks"])) == ("snapshot", stream, 3)
    await committed(*notes(run, plan_id, 2))
    (rows,) = await ask(http, (stream, first["seq"]), wait=20)
    assert (rows["op"], [row["seq"] for row in rows["rows"]]) == ("rows", [first["seq"] + 1, first["seq"] + 2])
    (head,) = await ask(http, (stream, first["seq"] + 2))
    assert (head["op"], head["seq"]) == ("head", first["seq"] + 2)


async def test_the_same_frames_as_on_a_socket(http, run):
    plan_id, _ = await in_thread(run.plan, 2)
    (frame,) = await ask(http, (f"plan:{plan_id}", 0))
    log = (await http.get(f"/v1/tracker/plans/{plan_id}/log")).json()
    assert frame == {"op": "rows", "stream": f"plan:{plan_id}", "rows": log["items"]}


async def test_who_waits_is_answered_by_what_happens_and_costs_nothing_until_then(http, run, monkeypatch):
    plan_id, _ = await in_thread(run.plan)
    seq = await last_seq(plan_id)
    polls = [asyncio.create_task(ask(http, (f"plan:{plan_id}", seq), wait=30)) for _ in range(20)]
    await waiting_polls(20)
    batch = await in_thread(ledger.record, notes(run, plan_id, 1))
    reads, queries = hub.counts().reads, []
    execute = CursorWrapper.execute
    monkeypatch.setattr(CursorWrapper, "execute", lambda *args: queries.append(args[1]) or execute(*args))
    hub.push(batch)
    for frames in await asyncio.gather(*polls):
        assert [row["seq"] for row in frames[0]["rows"]] == [seq + 1]
    assert (hub.counts().reads, queries) == (reads, [])
    assert hub.counts().sockets == hub.counts().subscriptions == 0


async def test_a_busy_plan_is_followed_without_a_gap(http, run):
    plan_id, _ = await in_thread(run.plan)
    seq = start = await last_seq(plan_id)
    writer = Writer([notes(run, plan_id, 1 + number % 4) for number in range(60)])
    last = start + sum(1 + number % 4 for number in range(60))
    writer.start()
    seen = []
    while seq < last:
        for frame in await ask(http, (f"plan:{plan_id}", seq), wait=20):
            seen += [row["seq"] for row in frame.get("rows", ())]
        seq = seen[-1] if seen else seq
    await writer.done()
    assert seen == list(range(start + 1, last + 1))


async def test_a_long_log_comes_in_answers_that_are_bounded_and_say_how_much_there_is(http, run):
    plan_id, _ = await in_thread(run.plan)
    long = [run.message("business-facts", "note.taken", {"x": "x" * 50_000}, plan_id=plan_id) for _ in range(30)]
    await in_thread(run.record, *long)
    last, seq, answers = await last_seq(plan_id), 0, 0
    while seq < last:
        (frame,) = await ask(http, (f"plan:{plan_id}", seq))
        assert frame["rows"][0]["seq"] == seq + 1
        seq, answers = frame["rows"][-1]["seq"], answers + 1
        assert frame.get("head", seq) == last
    assert 3 <= answers <= 10


async def test_a_snapshot_carries_little_of_a_log_of_large_rows(http, run):
    plan_id, _ = await in_thread(run.plan)
    long = [run.message("business-facts", "note.taken", {"x": "x" * 50_000}, plan_id=plan_id) for _ in range(30)]
    await in_thread(run.record, *long)
    (frame,) = await ask(http, f"plan:{plan_id}")
    seqs = [row["seq"] for row in frame["data"]["log"]]
    assert seqs == list(range(frame["seq"] - len(seqs) + 1, frame["seq"] + 1))
    assert 1 < len(seqs) < 10
    await committed(run.message("business-facts", "note.taken", {"x": "x" * 500_000}, plan_id=plan_id))
    (frame,) = await ask(http, f"plan:{plan_id}")
    assert [row["seq"] for row in frame["data"]["log"]] == [frame["seq"]]


async def test_what_cannot_be_continued_begins_anew_in_the_same_answer(http, run, monkeypatch):
    plan_id, _ = await in_thread(run.plan, 5)
    stream, last = f"plan:{plan_id}", await last_seq(plan_id)
    ahead = await ask(http, (stream, last + 1), wait=20)
    assert [(frame["op"], frame.get("reason")) for frame in ahead] == [("resync", "ahead"), ("snapshot", None)]
    monkeypatch.setattr(plan_stream, "FARTHEST", 2)
    behind = await ask(http, (stream, 1), wait=20)
    assert [(frame["op"], frame.get("reason")) for frame in behind] == [
        ("resync", "too-far-behind"),
        ("snapshot", None),
    ]
    await in_thread(lambda: LogRow.objects.filter(plan__plan_id=plan_id, seq__lte=last - 1).delete())
    pruned = await ask(http, (stream, last - 2), wait=20)
    assert [(frame["op"], frame.get("reason")) for frame in pruned] == [("resync", "pruned"), ("snapshot", None)]


async def test_a_list_is_known_by_its_digest(http, run):
    old, _ = await in_thread(run.plan)
    (first,) = await ask(http, "plans", wait=20)
    assert (first["op"], [item["plan_id"] for item in first["data"]["items"]]) == ("snapshot", [old])
    (same,) = await ask(http, ("plans", first["digest"]))
    assert (same["op"], same["digest"]) == ("head", first["digest"])
    poll = asyncio.create_task(ask(http, ("plans", first["digest"]), wait=30))
    await wait_until_async(has_members)
    await committed(run.request_message(old, "another"))
    patch, head = await poll
    assert (patch["op"], [item["task_count"] for item in patch["items"]]) == ("patch", [2])
    (now,) = await ask(http, ("plans", head["digest"]))
    assert ops([head, now]) == [("head", "plans"), ("head", "plans")]
    (missed,) = await ask(http, ("plans", first["digest"]), wait=20)
    assert (missed["op"], missed["digest"]) == ("snapshot", head["digest"])


async def has_members():
    return any(audience._members for audience in hub._audiences["plans"].values())


async def test_a_list_may_be_filtered(http, run):
    one, _ = await in_thread(run.plan)
    await in_thread(run.plan)
    (frame,) = await ask(http, "plans", q=one, state="in_progress")
    assert [item["plan_id"] for item in frame["data"]["items"]] == [one]


async def test_several_streams_in_one_answer(http, run):
    one, _ = await in_thread(run.plan)
    two, _ = await in_thread(run.plan)
    seq = await last_seq(one)
    frames = await ask(
        http, (f"plan:{one}", seq), f"plan:{two}", "agents", "approvals", "plans", "plan:nowhere", wait=20
    )
    assert sorted(ops(frames)) == [
        ("error", "plan:nowhere"),
        ("head", f"plan:{one}"),
        ("snapshot", "agents"),
        ("snapshot", "approvals"),
        ("snapshot", f"plan:{two}"),
        ("snapshot", "plans"),
    ]


async def test_what_is_foreign_is_not_there(http, run):
    plan_id, _ = await in_thread(run.plan)
    stranger = await in_thread(lambda: make_key(scopes=["read"])[1])
    neighbour = await in_thread(lambda: make_key(run.workspace, scopes=["read"], tenant_id="globex", user_id="b")[1])
    answers = []
    for key in (stranger, neighbour):
        for stream in (f"plan:{plan_id}", "plan:nowhere"):
            answer = await http.get(f"/v1/live?stream={stream}", headers={"Authorization": f"Bearer {key}"})
            answers.append((*code(answer), answer.json()["detail"]))
    assert set(answers) == {(404, "not-found", "there is no plan with this id")}


async def test_who_may_not_read_is_refused(http, run):
    publisher = await in_thread(lambda: make_key(run.workspace, scopes=["publish", "act"])[1])
    answer = await http.get("/v1/live?stream=plans", headers={"Authorization": f"Bearer {publisher}"})
    assert code(answer) == (403, "forbidden")
    del http.headers["Authorization"]
    assert code(await http.get("/v1/live?stream=plans")) == (401, "unauthenticated")
    wrong = await http.get("/v1/live?stream=plans", headers={"Authorization": "Bearer soorma_wrong"})
    assert code(wrong) == (401, "unauthenticated")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_members_poll_with_their_session(http, run, role):
    plan_id, _ = await in_thread(run.plan)
    browser = await in_thread(lambda: browser_of(make_member(run.workspace, role)))
    del http.headers["Authorization"]
    http.cookies["sessionid"] = browser.cookies["sessionid"].value
    assert ops(await ask(http, f"plan:{plan_id}")) == [("snapshot", f"plan:{plan_id}")]


async def test_who_loses_access_is_answered_at_once(http, run, token):
    plan_id, _ = await in_thread(run.plan)
    seq = await last_seq(plan_id)
    member = await in_thread(make_member, run.workspace, Role.VIEWER)
    browser = await in_thread(browser_of, member)
    query = urlencode({"stream": f"plan:{plan_id}", "after": seq, "wait": 30})
    by_key = asyncio.create_task(http.get(f"/v1/live?{query}"))
    cookies = {"sessionid": browser.cookies["sessionid"].value}
    async with served_again(http, cookies=cookies) as other:
        by_member = asyncio.create_task(other.get(f"/v1/live?{query}"))
        await waiting_polls(2)
        await in_thread(lambda: Membership.objects.get(pk=member.pk).delete())
        assert code(await by_member) == (401, "unauthenticated")
    await in_thread(lambda: ApiKey.objects.get(workspace=run.workspace).revoke())
    assert code(await by_key) == (401, "unauthenticated")


def served_again(http, **options):
    """Another client of the same application, without a key."""
    return type(http)(transport=http._transport, base_url=http.base_url, timeout=PATIENCE, **options)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", "/stream"),
        ("stream=", "/stream"),
        ("stream=goals", "/stream"),
        ("stream=plan:", "/stream"),
        ("stream=plans&stream=plans", "/stream"),
        ("&".join(f"stream=plan:{n}" for n in range(MOST_STREAMS + 1)), "/stream"),
        ("stream=plan:p&after=-1", "/after"),
        ("stream=plan:p&after=x", "/after"),
        ("stream=plan:p&after=%C2%B2", "/after"),
        ("stream=plan:p&after=9223372036854775808", "/after"),
        ("stream=plan:p&stream=plans&after=1", "/after"),
        ("stream=plan:p&wait=long", "/wait"),
        ("stream=plans&colour=red", "/colour"),
        ("stream=plans&state=sleeping", "/filter"),
        ("stream=plans&ticket=x", "/ticket"),
    ],
)
async def test_what_cannot_be_answered_is_pointed_at(http, query, pointer):
    answer = await http.get(f"/v1/live?{query}")
    assert code(answer) == (422, "invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_only_get(http):
    answer = await http.post("/v1/live?stream=plans", json={})
    assert (code(answer), answer.headers["Allow"]) == ((405, "method-not-allowed"), "GET")


@pytest.mark.parametrize("wait", ["0", "-5", "0.01"])
async def test_a_wait_of_nothing_is_answered_with_heads(http, run, wait):
    plan_id, _ = await in_thread(run.plan)
    seq = await last_seq(plan_id)
    (head,) = await ask(http, (f"plan:{plan_id}", seq), wait=wait)
    assert (head["op"], head["seq"]) == ("head", seq)


async def test_who_goes_away_is_forgotten(run, token):
    plan_id, _ = await in_thread(run.plan)
    seq = await last_seq(plan_id)
    hub.start()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/live",
        "query_string": f"stream=plan:{plan_id}&after={seq}&wait=30".encode(),
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    said, heard = [], asyncio.Queue()
    heard.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    poll = asyncio.create_task(live_poll(scope, heard.get, said.append))
    await waiting_polls(1)
    heard.put_nowait({"type": "http.disconnect"})
    await poll
    assert (said, hub.counts().sockets) == ([], 0)
    await hub.stop()


async def test_a_server_that_ends_answers_who_waits(http, run):
    plan_id, _ = await in_thread(run.plan)
    seq = await last_seq(plan_id)
    poll = asyncio.create_task(http.get(f"/v1/live?stream=plan:{plan_id}&after={seq}&wait=30"))
    await waiting_polls(1)
    runtime.end_streams_soon()
    answer = await poll
    assert (code(answer), answer.headers["Retry-After"]) == ((503, "unavailable"), "1")


async def test_frames_are_told_as_text_that_is_encoded_once(http, run):
    plan_id, _ = await in_thread(run.plan)
    seq = await last_seq(plan_id)
    polls = [asyncio.create_task(ask(http, (f"plan:{plan_id}", seq), wait=30)) for _ in range(5)]
    await waiting_polls(5)
    encoded = hub.counts().frames_encoded
    await committed(*notes(run, plan_id, 1))
    answers = await asyncio.gather(*polls)
    assert len({json.dumps(frames) for frames in answers}) == 1
    assert hub.counts().frames_encoded == encoded + 1
