"""`POST /v1/events/batch`: SDK envelopes and CloudEvents, each of which stands or falls by itself."""

import asyncio
import json

import pytest

from tests.services.waiting import wait_until_async
from tests.tracker.live_client import in_thread
from tests.tracker.served import Agent, an_event, code, database_held, waiting
from tracker.models import LogRow

pytestmark = pytest.mark.django_db(transaction=True)
BATCH = "/v1/events/batch"
CLOUD_EVENTS = "application/cloudevents-batch+json"


@pytest.fixture
async def agent(http, workspace):
    return await Agent.of(http, workspace, "acme", "alice")


async def results(agent, events, **headers):
    response = await agent.batch(events, **headers)
    assert response.status_code == 200, response.text
    assert set(response.json()) == {"results"}
    return response.json()["results"]


async def cloud(agent, *events):
    return await results(agent, json.dumps(events).encode(), Content_Type=CLOUD_EVENTS)


async def kept(workspace):
    return await in_thread(lambda: list(LogRow.objects.filter(workspace=workspace, kind="message").order_by("id")))


def a_cloud_event(**attributes):
    event = {
        "specversion": "1.0",
        "id": "ce-1",
        "source": "parts-planner",
        "type": "parts.check.requested",
        "topic": "action-requests",
        "tenantid": "acme",
        "userid": "alice",
        "planid": "p",
        "data": {"task_id": "t"},
    } | attributes
    return {name: value for name, value in event.items() if value is not None}


async def test_outcomes_come_in_the_order_of_the_events(agent):
    request = an_event(id="e-1", plan_id="p", correlation_id="t", response_event="done", data={"task_id": "t"})
    done = an_event(topic="action-results", type="done", plan_id="p", correlation_id="t", data={"task_id": "t"})
    told = await results(
        agent,
        [
            request,
            done | {"id": "e-2", "data": {"task_id": "t", "success": True}},
            done | {"id": "e-3", "data": {"task_id": "t", "success": False}},
            request,
            an_event(id="e-4"),
        ],
    )
    assert [(one["event_id"], one["outcome"]) for one in told] == [
        ("e-1", "recorded"),
        ("e-2", "recorded"),
        ("e-3", "refused"),
        ("e-1", "duplicate"),
        ("e-4", "recorded"),
    ]
    assert [(one["plan_id"], one["task_id"]) for one in told] == [("p", "t")] * 4 + [(None, None)]
    log = {item["event_id"]: item["seq"] for item in await agent.log("p") if item["kind"] == "message"}
    assert [one["seq"] for one in told] == [log["e-1"], log["e-2"], log["e-3"], log["e-1"], None]
    assert [one["detail"] is None for one in told] == [True, True, False, True, True]


BAD = {
    "null": None,
    "a number": 7,
    "text": "event",
    "an array": [],
    "empty": {},
    "no topic": an_event(topic=None),
    "a wrong topic": an_event(topic="elsewhere"),
    "data is text": an_event(data="text"),
    "another tenant": an_event(tenant_id="globex"),
    "another user": an_event(user_id="bob"),
    "tenant too long": an_event(tenant_id="x" * 65),
    "NUL in an id": an_event(plan_id="a\x00b"),
    "the tracker's own": an_event(source="tracker"),
}


async def test_one_bad_element_never_sinks_the_others(agent, workspace):
    events = []
    for number, bad in enumerate(BAD.values()):
        events += [an_event(id=f"good-{number}"), bad]
    told = await results(agent, [*events, an_event(id="last")])
    assert {one["outcome"] for one in told[0::2]} == {"recorded"}
    wrong = dict(zip(BAD, told[1::2], strict=True))
    assert {name: one["outcome"] for name, one in wrong.items()} == dict.fromkeys(BAD, "invalid")
    assert all(one["detail"] and one["seq"] is None for one in wrong.values())
    assert {name: [fault["pointer"] for fault in one.get("errors", [])] for name, one in wrong.items()} == {
        "null": ["/1"],
        "a number": ["/3"],
        "text": ["/5"],
        "an array": ["/7"],
        "empty": [f"/9/{name}" for name in ("source", "type", "topic", "tenant_id", "user_id")],
        "no topic": ["/11/topic"],
        "a wrong topic": ["/13/topic"],
        "data is text": ["/15/data"],
        "another tenant": [],
        "another user": [],
        "tenant too long": ["/21/tenant_id"],
        "NUL in an id": ["/23/plan_id"],
        "the tracker's own": ["/25/source"],
    }
    assert "globex" in wrong["another tenant"]["detail"]
    assert [row.event_id for row in await kept(workspace)] == [one["event_id"] for one in told[0::2]]


async def test_an_invalid_event_says_its_id(agent):
    told = await results(agent, [an_event(id="mine", topic="elsewhere"), an_event(id=7)])
    assert [one["event_id"] for one in told] == ["mine", None]


@pytest.mark.parametrize("body", [b"{}", b'"text"', b"null", b"7", b"", b"[", b"[NaN]", b'[{"data":{"a":1e999}}]'])
async def test_what_is_no_array_is_422(agent, body):
    assert code(await agent.batch(body)) == (422, "invalid")


async def test_nothing_is_an_empty_answer(agent):
    assert await results(agent, []) == []


async def test_a_batch_has_a_thousand_elements_at_most(agent, workspace):
    events = [an_event(id=f"e-{number}", plan_id=f"p-{number % 7}") for number in range(1000)]
    told = await results(agent, events)
    assert [one["event_id"] for one in told] == [event["id"] for event in events]
    assert {one["outcome"] for one in told} == {"recorded"}
    assert code(await agent.batch([*events, an_event()])) == (413, "too-large")
    assert {one["outcome"] for one in await results(agent, events[::-1])} == {"duplicate"}
    assert len(await kept(workspace)) == 1000


async def test_a_body_and_each_event_have_a_size(agent, settings):
    settings.MAX_EVENT_BYTES, settings.MAX_BODY_BYTES = 1000, 5000
    small, large = an_event(data={"x": "y" * 300}), an_event(id="large", data={"x": "y" * 1000})
    told = await results(agent, [small, large, small])
    assert [one["outcome"] for one in told] == ["recorded", "invalid", "recorded"]
    assert (told[1]["event_id"], "1000 bytes" in told[1]["detail"]) == ("large", True)
    assert code(await agent.batch([small] * 20)) == (413, "too-large")


async def test_who_may_send_a_batch(http, agent, workspace):
    assert code(await http.post(BATCH, json=[])) == (401, "unauthenticated")
    reader = await Agent.of(http, workspace, scopes=["read", "act"])
    assert code(await reader.batch([])) == (403, "forbidden")
    response = await agent.get(BATCH)
    assert (code(response), response.headers["Allow"]) == ((405, "method-not-allowed"), "POST")


async def test_a_key_of_the_whole_workspace_speaks_for_all_tenants(http, workspace):
    everybody = await Agent.of(http, workspace)
    told = await results(everybody, [an_event(), an_event(tenant_id="globex", user_id="bob")])
    assert [one["outcome"] for one in told] == ["recorded", "recorded"]
    assert [row.tenant_id for row in await kept(workspace)] == ["acme", "globex"]


async def test_cloud_events(agent, workspace):
    [told] = await cloud(
        agent,
        a_cloud_event(
            time="2026-01-02T03:04:05Z",
            subject="van-7",
            datacontenttype="application/json",
            dataschema="https://example.org/schema",
            correlationid="t",
            responseevent="parts.check.completed",
            responsetopic="action-results",
            parenteventid="e-0",
            sessionid="s",
            goalid="g",
            traceid="trace",
            comexampleother="kept by nobody",
        ),
    )
    assert (told["event_id"], told["outcome"], told["plan_id"], told["task_id"]) == ("ce-1", "recorded", "p", "t")
    [row] = await kept(workspace)
    assert (row.correlation_id, row.parent_event_id, row.trace_id, row.occurred_at.isoformat()) == (
        "t",
        "e-0",
        "trace",
        "2026-01-02T03:04:05+00:00",
    )
    envelope = json.loads(row.envelope)
    assert {name: envelope[name] for name in ("subject", "response_event", "response_topic", "session_id")} == {
        "subject": "van-7",
        "response_event": "parts.check.completed",
        "response_topic": "action-results",
        "session_id": "s",
    }


async def test_cloud_events_may_use_our_own_names(agent, workspace):
    ours = a_cloud_event(tenantid=None, tenant_id="acme", planid=None, plan_id="q", correlation_id="c")
    assert [one["plan_id"] for one in await cloud(agent, ours)] == ["q"]
    assert [row.correlation_id for row in await kept(workspace)] == ["c"]


async def test_a_trace_comes_from_the_traceparent(agent, workspace):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await cloud(
        agent,
        a_cloud_event(id="a", traceparent=parent),
        a_cloud_event(id="b", traceparent=parent, traceid="mine"),
        a_cloud_event(id="c", traceparent="nonsense"),
        a_cloud_event(id="d", traceparent=7, data=None),
    )
    told = {row.event_id: row.trace_id for row in await kept(workspace)}
    assert told == {"a": "0af7651916cd43dd8448eb211c80319c", "b": "mine", "c": "", "d": ""}


async def test_cloud_events_that_do_not_fit(agent):
    wrong = {
        "id": a_cloud_event(id=None),
        "source": a_cloud_event(source=None),
        "type": a_cloud_event(type=None),
        "specversion": a_cloud_event(specversion="0.3"),
        "data_base64": a_cloud_event(data=None, data_base64="aGVsbG8="),
        "data": a_cloud_event(data="text", datacontenttype="text/plain"),
        "topic": a_cloud_event(topic=None),
        "tenantid": a_cloud_event(tenantid=""),
        "plan_id": a_cloud_event(plan_id="x" * 256),
    }
    told = await cloud(agent, *wrong.values(), a_cloud_event(id="good"), "text")
    assert [one["outcome"] for one in told] == ["invalid"] * len(wrong) + ["recorded", "invalid"]
    pointers = [[fault["pointer"] for fault in one.get("errors", [])] for one in told]
    assert pointers == [[f"/{place}/{name}"] for place, name in enumerate(wrong)] + [[], [f"/{len(wrong) + 1}"]]


async def test_a_queue_that_is_full_refuses_the_whole_batch(agent, settings, workspace):
    settings.WRITER_QUEUE = 5
    async with database_held():
        first = asyncio.create_task(agent.publish(id="first"))
        await wait_until_async(lambda: waiting(1))
        response = await agent.batch([an_event()] * 5)
        assert (code(response), response.headers["Retry-After"]) == ((503, "unavailable"), "1")
    assert (await first).status_code == 200
    assert [row.event_id for row in await kept(workspace)] == ["first"]
