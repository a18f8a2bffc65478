"""`/ws/agent`: envelopes in, acks out in their order, bounded, and closed cleanly."""

import asyncio
import json

import pytest

from accounts.models import ApiKey
from tests.services.waiting import wait_until_async
from tests.tracker.live_client import HOST, in_thread, with_key
from tests.tracker.served import Agent, Socket, an_event, database_held, waiting
from tracker.bus import intake
from tracker.bus.intake import sessions
from tracker.models import LogRow

pytestmark = pytest.mark.django_db(transaction=True)
UNAUTHENTICATED, FORBIDDEN, RESTART = 4401, 4403, 1012


@pytest.fixture
async def agent(http, workspace):
    return await Agent.of(http, workspace, "acme", "alice")


async def ids(workspace):
    rows = LogRow.objects.filter(workspace=workspace, kind="message").order_by("id")
    return await in_thread(lambda: list(rows.values_list("event_id", flat=True)))


async def test_an_event_a_frame_an_ack_a_frame(agent):
    async with Socket(agent.token) as socket:
        await socket.say(an_event(id="e-1", plan_id="p"))
        ack = await socket.hear()
        await socket.say(an_event(id="e-1", plan_id="p"))
        again = await socket.hear()
    [row] = [item for item in await agent.log("p") if item["kind"] == "message"]
    assert (ack["event_id"], ack["outcome"], ack["seq"]) == ("e-1", "recorded", row["seq"])
    assert (again["event_id"], again["outcome"], again["seq"]) == ("e-1", "duplicate", row["seq"])


async def test_acks_come_in_the_order_of_the_frames_whatever_became_of_them(agent, workspace, settings):
    settings.MAX_EVENT_BYTES = 2000
    done = an_event(topic="action-results", type="done", plan_id="p", correlation_id="t")
    async with Socket(agent.token) as socket:
        await socket.say(
            an_event(id="e-1", plan_id="p", correlation_id="t", response_event="done", data={"task_id": "t"})
        )
        await socket.say_raw("{nonsense")
        await socket.say(done | {"id": "e-2", "data": {"task_id": "t", "success": True}})
        await socket.say(done | {"id": "e-3", "data": {"task_id": "t", "success": False}})
        await socket.say(an_event(id="e-4", topic="elsewhere"))
        await socket.say(an_event(id="e-5", tenant_id="globex"))
        await socket.say(an_event(id="e-6", data={"x": "y" * 2000}))
        await socket.say_raw("[]")
        await socket.say_raw('{"data": {"n": NaN}}')
        await socket.say_raw(json.dumps(an_event(id="e-7")).encode())
        await socket.say_raw(b"\xff\x00")
        await socket.say(an_event(id="e-8"))
        acks = await socket.acks(12)
    assert [(ack["event_id"], ack["outcome"]) for ack in acks] == [
        ("e-1", "recorded"),
        (None, "invalid"),
        ("e-2", "recorded"),
        ("e-3", "refused"),
        ("e-4", "invalid"),
        ("e-5", "invalid"),
        (None, "invalid"),
        (None, "invalid"),
        (None, "invalid"),
        ("e-7", "recorded"),
        (None, "invalid"),
        ("e-8", "recorded"),
    ]
    assert all(ack["detail"] for ack in acks if ack["outcome"] in {"invalid", "refused"})
    assert [fault["pointer"] for fault in acks[4]["errors"]] == ["/topic"]
    assert await ids(workspace) == ["e-1", "e-2", "e-3", "e-7", "e-8"]


async def test_frames_do_not_wait_for_the_acks_before_them(agent, workspace):
    events = [an_event(id=f"e-{number}", plan_id=f"p-{number % 3}") for number in range(2500)]
    async with Socket(agent.token) as socket:
        await socket.say(*events)
        acks = await socket.acks(len(events))
    assert [ack["event_id"] for ack in acks] == [event["id"] for event in events]
    assert {ack["outcome"] for ack in acks} == {"recorded"}
    assert await ids(workspace) == [event["id"] for event in events]


async def test_no_more_is_read_than_a_thousand_frames_ahead(agent, workspace, monkeypatch):
    monkeypatch.setattr(intake, "MOST_FRAMES", 10)
    async with Socket(agent.token) as socket:
        async with database_held():
            await socket.say(*(an_event(id=f"e-{number}") for number in range(40)))
            [session] = sessions.open
            await wait_until_async(lambda: true(session.unanswered == 10))
            unread = socket.socket.input_queue
            assert unread.qsize() == 30
        acks = await socket.acks(40)
    assert [ack["event_id"] for ack in acks] == [f"e-{number}" for number in range(40)]
    assert await ids(workspace) == [f"e-{number}" for number in range(40)]


async def test_nor_more_bytes_than_a_body_may_have(agent, settings):
    settings.MAX_BODY_BYTES = 3000
    async with Socket(agent.token) as socket:
        async with database_held():
            await socket.say(*(an_event(id=f"e-{number}", data={"x": "y" * 1000}) for number in range(9)))
            [session] = sessions.open
            await wait_until_async(lambda: true(session.unanswered == 3))
            assert socket.socket.input_queue.qsize() == 6
        assert [ack["outcome"] for ack in await socket.acks(9)] == ["recorded"] * 9


async def true(value):
    return value


async def test_a_writer_that_is_full_is_said_for_each_frame(agent, settings, workspace):
    settings.WRITER_QUEUE = 1
    async with Socket(agent.token) as socket:
        async with database_held():
            first = asyncio.create_task(agent.publish(id="first"))
            await wait_until_async(lambda: waiting(1))
            await socket.say(an_event(id="e-1"), an_event(id="e-2", topic="elsewhere"))
            acks = await socket.acks(2)
        assert (await first).status_code == 200
        await socket.say(an_event(id="e-1"))
        acks += await socket.acks(1)
    assert [(ack["event_id"], ack["outcome"], ack.get("retry_after")) for ack in acks] == [
        ("e-1", "unavailable", 1),
        ("e-2", "invalid", None),
        ("e-1", "recorded", None),
    ]
    assert await ids(workspace) == ["first", "e-1"]


async def closed_with(token="", path="/ws/agent"):
    async with Socket(token, path) as socket:
        return await socket.closed()


async def test_who_is_let_in(http, workspace, agent):
    assert await closed_with() == UNAUTHENTICATED
    assert await closed_with("soorma_wrong") == UNAUTHENTICATED
    assert await closed_with(path="/ws/agent?ticket=wrong") == UNAUTHENTICATED
    reader = await Agent.of(http, workspace, scopes=["read", "act"])
    assert await closed_with(reader.token) == FORBIDDEN


async def test_a_ticket_opens_one_socket(agent, workspace):
    ticket = (await agent.post("/v1/live-tickets")).json()["ticket"]
    path = f"/ws/agent?ticket={ticket}"
    async with Socket(path=path) as socket:
        await socket.say(an_event(id="e-1"), an_event(id="e-2", user_id="bob"))
        assert [ack["outcome"] for ack in await socket.acks(2)] == ["recorded", "invalid"]
    assert await closed_with(path=path) == UNAUTHENTICATED
    assert await ids(workspace) == ["e-1"]


async def test_a_page_of_somebody_else_is_refused(agent):
    socket = Socket(agent.token)
    socket.socket.scope["headers"] = [*with_key(agent.token), (b"origin", b"https://evil.example")]
    accepted, _ = await socket.socket.connect()
    assert not accepted
    await socket.socket.wait()


async def test_there_are_no_other_sockets(http):
    socket = Socket(path="/ws/elsewhere")
    socket.socket.scope["headers"] = [HOST]
    accepted, _ = await socket.socket.connect()
    assert not accepted
    await socket.socket.wait()


async def test_a_key_that_is_revoked_closes_its_sockets(agent, workspace):
    async with Socket(agent.token) as socket:
        await socket.say(an_event(id="e-1"))
        assert (await socket.hear())["outcome"] == "recorded"
        await sessions.let_go()
        assert len(sessions.open) == 1
        await in_thread(lambda: ApiKey.objects.get(workspace=workspace).revoke())
        await sessions.let_go()
        assert await socket.closed() == UNAUTHENTICATED
    await wait_until_async(lambda: true(not sessions.open))


async def test_a_server_that_ends_answers_first(agent, workspace):
    async with Socket(agent.token) as socket:
        async with database_held():
            await socket.say(*(an_event(id=f"e-{number}") for number in range(5)))
            [session] = sessions.open
            await wait_until_async(lambda: true(session.unanswered == 5))
            sessions.end()
        assert [ack["outcome"] for ack in await socket.acks(5)] == ["recorded"] * 5
        assert await socket.closed() == RESTART
        late = Socket(agent.token)
        accepted, _ = await late.socket.connect()
        assert not accepted
        await late.socket.wait()
    assert await ids(workspace) == [f"e-{number}" for number in range(5)]


async def test_what_an_agent_sent_before_it_went_is_recorded(agent, workspace):
    socket = Socket(agent.token)
    async with socket:
        await socket.say(*(an_event(id=f"e-{number}") for number in range(300)))
    await wait_until_async(lambda: true(not sessions.open))
    assert await ids(workspace) == [f"e-{number}" for number in range(300)]


async def test_an_error_that_nobody_expected_closes_the_socket_and_is_logged(agent, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr("tracker.ledger.prefetch", broken)
    async with Socket(agent.token) as socket:
        await socket.say(an_event())
        assert await socket.closed() == 1011
    assert "RuntimeError: secret" in caplog.text
