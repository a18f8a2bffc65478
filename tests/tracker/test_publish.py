"""`POST /v1/events/publish` as agents call it: what is let in, what is filled in, what is refused and how."""

import asyncio
import json
import re
from uuid import UUID

import pytest
from django.db import DataError

from tests.services.waiting import wait_until_async
from tests.tracker.live_client import in_thread
from tests.tracker.served import Agent, an_event, code, database_held, waiting
from tracker import ledger
from tracker.models import LogRow

pytestmark = pytest.mark.django_db(transaction=True)
PUBLISH = "/v1/events/publish"


@pytest.fixture
async def agent(http, workspace):
    return await Agent.of(http, workspace)


async def kept(workspace):
    """What the log holds of a workspace's messages, oldest first."""
    return await in_thread(lambda: list(LogRow.objects.filter(workspace=workspace, kind="message").order_by("id")))


async def test_an_event_is_recorded_before_it_is_answered(agent, workspace):
    response = await agent.publish(id="e-1", plan_id="p", data={"task_id": "t", "n": 10**30})
    assert response.status_code == 200
    assert response.json() == {"success": True, "event_id": "e-1", "message": "recorded"}
    [row] = await kept(workspace)
    assert (row.event_id, row.source, row.topic) == ("e-1", "parts-planner", "action-requests")
    assert json.loads(row.data) == {"task_id": "t", "n": 10**30}
    assert [item["type"] for item in await agent.log("p") if item["kind"] == "message"] == ["parts.check.requested"]


async def test_what_a_raw_caller_leaves_out_is_filled_in(agent, workspace):
    answer = (await agent.publish(data=None)).json()
    [row] = await kept(workspace)
    assert row.event_id == answer["event_id"] == str(UUID(answer["event_id"]))
    assert UUID(row.correlation_id)
    assert abs((row.recorded_at - row.occurred_at).total_seconds()) < 60
    assert (row.data, json.loads(row.envelope)["specversion"]) == ("{}", "1.0")


async def test_an_event_twice_is_recorded_once(agent, workspace):
    first = await agent.publish(id="e-1", plan_id="p")
    second = await agent.publish(id="e-1", plan_id="p", data={"other": True})
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == {"success": True, "event_id": "e-1", "message": "recorded before"}
    other = await agent.publish(id="e-1", plan_id="p", source="another-agent")
    assert other.json()["message"] == "recorded"
    assert [row.source for row in await kept(workspace)] == ["parts-planner", "another-agent"]


async def test_what_the_state_table_refuses_is_kept_and_said(agent):
    await agent.publish(plan_id="p", data={"task_id": "t"}, correlation_id="t", response_event="done")
    for success in (True, False):
        response = await agent.publish(
            topic="action-results",
            type="done",
            plan_id="p",
            correlation_id="t",
            data={"task_id": "t", "success": success},
        )
        assert (response.status_code, response.json()["success"]) == (200, True)
    assert response.json()["message"].startswith("recorded, but refused: ")
    assert [item["refused"] for item in await agent.log("p") if item["type"] == "done"] == [False, True]


async def test_who_may_publish(http, workspace):
    nobody = await http.post(PUBLISH, json={"event": an_event()})
    assert code(nobody) == (401, "unauthenticated")
    assert code(await Agent(http, "soorma_wrong").publish()) == (401, "unauthenticated")
    assert code(await Agent(http, "").publish()) == (401, "unauthenticated")
    reader = await Agent.of(http, workspace, scopes=["read", "act"])
    assert code(await reader.publish()) == (403, "forbidden")
    bound = await Agent.of(http, workspace, "acme", "alice")
    assert (await bound.publish()).status_code == 200
    assert code(await bound.publish(tenant_id="globex")) == (403, "forbidden")
    assert code(await bound.publish(user_id="bob")) == (403, "forbidden")
    assert [(row.tenant_id, row.user_id) for row in await kept(workspace)] == [("acme", "alice")]


async def test_tenant_and_user_are_trimmed(http, workspace):
    bound = await Agent.of(http, workspace, "acme", "alice")
    assert (await bound.publish(tenant_id="  acme ", user_id="\talice\n")).status_code == 200
    [row] = await kept(workspace)
    assert (row.tenant_id, row.user_id) == ("acme", "alice")


@pytest.mark.parametrize("name", ["tenant_id", "user_id"])
async def test_tenant_and_user_have_up_to_64_characters(agent, name):
    assert (await agent.publish(**{name: "x" * 64})).status_code == 200
    for wrong in ("x" * 65, "", "   ", None, 7, "a\x00b"):
        response = await agent.publish(**{name: wrong})
        assert code(response) == (422, "invalid"), wrong
        assert [fault["pointer"] for fault in response.json()["errors"]] == [f"/event/{name}"]


MISFITS = {
    "source": ["", "  ", None, "tracker", "x" * 256, 1, "a\x00"],
    "type": ["", None, "x" * 256, "a\x00"],
    "topic": ["", None, "no-such-topic", "*", 1],
    "data": ["text", [], 1, True],
    "id": ["", "x" * 256, 7, "a\x00"],
    "time": ["yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00", 1e300, []],
    "correlation_id": ["x" * 256, 7, "a\x00"],
    "plan_id": ["x" * 256, 7, "a\x00"],
    "session_id": ["x" * 256, {}],
    "parent_event_id": ["x" * 256, []],
    "trace_id": ["x" * 256],
    "response_event": ["x" * 256],
}


@pytest.mark.parametrize("name", MISFITS)
async def test_a_field_that_does_not_fit_is_pointed_at(agent, workspace, name):
    for wrong in MISFITS[name]:
        response = await agent.publish(**{name: wrong})
        assert code(response) == (422, "invalid"), wrong
        assert [fault["pointer"] for fault in response.json()["errors"]] == [f"/event/{name}"], wrong
    assert await kept(workspace) == []


def with_data(text):
    event = json.dumps({"event": an_event(data={"a": "HERE"})})
    return event.replace('"HERE"', text).encode()


BODIES = {
    "nothing": b"",
    "half": b'{"event": ',
    "not utf-8": with_data('"\xff"').replace("\xff".encode(), b"\xff"),
    "utf-16": json.dumps({"event": an_event()}).encode("utf-16"),
    "NaN": with_data("NaN"),
    "Infinity": with_data("-Infinity"),
    "beyond a double": with_data("1e999"),
    "thousands of digits": with_data("1" * 5000),
    "half a surrogate pair": with_data('"\\ud800"'),
    "deep": with_data("[" * 100_000 + "]" * 100_000),
    "deeper than is read": with_data("[" * 300 + "]" * 300),
    "an array": b"[]",
    "a string": b'"event"',
    "null": b"null",
    "no event": b"{}",
    "the envelope alone": json.dumps(an_event()).encode(),
    "event is null": b'{"event": null}',
    "event is text": b'{"event": "text"}',
    "event is an array": b'{"event": []}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_is_no_event_is_422(agent, workspace, body):
    response = await agent.post(PUBLISH, body)
    assert code(response) == (422, "invalid")
    assert [set(fault) for fault in response.json()["errors"]] == [{"pointer", "detail"}]
    assert await kept(workspace) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * 150 + "]" * 150, None),
        ("12345678901234567890123456789", 12345678901234567890123456789),
        ("-0.1e-5", -0.1e-5),
        ('"\\ud83d\\ude80 \\u0000"', "\N{ROCKET} \x00"),
        ('{"b": 1, "b": 2}', {"b": 2}),
    ],
)
async def test_data_comes_back_as_it_was(agent, text, value):
    body = with_data(text).replace(b'"source"', b'"plan_id": "p", "source"')
    assert (await agent.post(PUBLISH, body)).status_code == 200
    [row] = [item for item in await agent.log("p") if item["kind"] == "message"]
    assert row["data"]["a"] == (json.loads(text) if value is None else value)


async def test_an_event_has_a_size(agent, settings):
    settings.MAX_EVENT_BYTES = 2000
    assert (await agent.publish(data={"x": "y" * 1000})).status_code == 200
    assert code(await agent.publish(data={"x": "y" * 2000})) == (413, "too-large")


async def test_a_queue_that_is_full_says_when_to_come_again(agent, settings, workspace):
    settings.WRITER_QUEUE = 1
    async with database_held():
        first = asyncio.create_task(agent.publish(id="e-1"))
        await wait_until_async(lambda: waiting(1))
        response = await agent.publish(id="e-2")
        assert code(response) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
    assert (await first).status_code == 200
    assert [row.event_id for row in await kept(workspace)] == ["e-1"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_405(http, agent, method):
    response = await agent.call(method, PUBLISH)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert (await http.request(method, PUBLISH)).status_code == 401


@pytest.mark.parametrize("host", ["localhost:8082", "localhost:8084", "127.0.0.1:8082"])
async def test_the_examples_ports_are_welcome_and_nothing_redirects(agent, host):
    response = await agent.call("POST", PUBLISH, {"event": an_event()}, Host=host)
    assert response.status_code == 200
    assert code(await agent.post(PUBLISH + "/", {"event": an_event()})) == (404, "not-found")


async def test_one_cloud_event(agent, workspace):
    event = {
        "specversion": "1.0",
        "id": "ce-1",
        "source": "parts-planner",
        "type": "parts.check.requested",
        "topic": "action-requests",
        "tenantid": "acme",
        "userid": "alice",
        "planid": "p",
        "responseevent": "parts.check.completed",
        "datacontenttype": "application/json",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": {"task_id": "t"},
    }
    sort = "application/cloudevents+json; charset=utf-8"
    response = await agent.call("POST", PUBLISH, json.dumps(event).encode(), Content_Type=sort)
    assert response.json() == {"success": True, "event_id": "ce-1", "message": "recorded"}
    [row] = await kept(workspace)
    assert (row.trace_id, json.loads(row.envelope)["response_event"]) == (
        "0af7651916cd43dd8448eb211c80319c",
        "parts.check.completed",
    )
    wrong = json.dumps(event | {"tenantid": ""}).encode()
    response = await agent.call("POST", PUBLISH, wrong, Content_Type=sort)
    assert code(response) == (422, "invalid")
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/tenantid"]


async def test_a_server_that_fails_says_nothing_of_why(agent, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr("tracker.ledger.prefetch", broken)
    response = await agent.publish()
    assert code(response) == (500, "internal-error")
    assert "secret" not in response.text
    assert re.search(r"RuntimeError: secret", caplog.text)


async def test_an_event_that_the_database_does_not_take_fails_alone(agent, workspace, monkeypatch):
    """Even one that validation let through by mistake: others in the same commit are recorded."""
    whole = ledger.record

    def picky(changes):
        if any(change.envelope.id == "poison" for change in changes):
            raise DataError("no such value")
        return whole(changes)

    monkeypatch.setattr(ledger, "record", picky)
    async with database_held():
        first = asyncio.create_task(agent.publish(id="e-1"))
        await wait_until_async(lambda: waiting(1))
        others = [asyncio.create_task(agent.publish(id=name)) for name in ("e-2", "poison", "e-3")]
        await wait_until_async(lambda: waiting(4))
    assert [(await one).status_code for one in (first, *others)] == [200, 200, 500, 200]
    assert sorted(row.event_id for row in await kept(workspace)) == ["e-1", "e-2", "e-3"]
