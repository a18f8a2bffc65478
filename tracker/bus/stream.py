"""`GET /v1/events/stream`: server-sent events to agents, a plain ASGI application.

No thread a stream, and a disconnect is seen at once.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

import orjson
from django.conf import settings

from tracker.bus.connections import Connection
from tracker.bus.outflow import outflow_of
from tracker.bus.publish import Receive, Send, caller_of, only, respond
from tracker.errors import CONTENT_TYPE, Invalid, Problem

LOOK_SECONDS = 1.0  # how often a stream that nobody reads looks whether it is to end
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the frames back
]


class NoTopics(Problem):
    """No topics were named"""

    status, code = 400, "no-topics"


async def stream_app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Connect an agent: `connected` at once, then its messages, heartbeats in silence, `disconnected` at the end."""
    from tracker.runtime import runtime

    try:
        caller = await caller_of(scope, "read")
        only(scope, "GET")
        connection = subscription(scope["query_string"], caller.workspace_id, caller.tenant_id or "")
        await runtime.bus.join(connection)
    except Problem as problem:
        await respond(send, problem.status, problem.body(), CONTENT_TYPE, problem.headers)
        return
    gone = asyncio.create_task(_gone(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await _send(
            send,
            _event("connected", connection_id=connection.id, topics=connection.patterns, agent_id=connection.agent_id),
        )
        await _feed(connection, send, gone)
        if not gone.done():
            await _send(send, _event("disconnected", connection_id=connection.id), more=False)
    finally:
        runtime.bus.leave(connection)
        gone.cancel()
        # A pending receive that is collected at interpreter exit can crash it.
        await asyncio.gather(gone, return_exceptions=True)


def subscription(query: bytes, workspace_id: int, tenant_id: str) -> Connection:
    """The connection that a query string asks for. The SDK pastes its values in without encoding them."""
    values = parse_qs(query.decode("utf-8", "replace"), keep_blank_values=True)
    missing = [
        name
        for name in ("topics", "agent_id")
        if name not in values or (name == "agent_id" and not values[name][0].strip())
    ]
    if missing:
        raise Invalid(
            "query parameters are missing",
            errors=[{"pointer": f"/{name}", "detail": "is required"} for name in missing],
        )
    patterns = [part.strip() for part in ",".join(values["topics"]).split(",") if part.strip()]
    if not patterns:
        raise NoTopics("name at least one topic")
    agent_id = values["agent_id"][0].strip()
    name = values.get("agent_name", [""])[0].strip() or agent_id
    if any(len(text) > 255 or "\x00" in text for text in (agent_id, name, *patterns)) or len(patterns) > 100:
        raise Invalid("topics, agent_id and agent_name may have 255 characters each, none of them NUL, and 100 topics")
    return Connection(workspace_id, tenant_id, agent_id, name, patterns, settings.STREAM_BUFFER)


async def _feed(connection: Connection, send: Send, gone: "asyncio.Task[None]") -> None:
    """Send what comes, as fast as it is read, until the client goes or the stream is ended."""
    outflow = outflow_of(send)
    connection.cut = outflow.cut
    try:
        while not gone.done():
            if taken := connection.take():
                await _send(send, b"".join(b"event: message\ndata: %s\n\n" % d.frame.encode() for d in taken))
                while outflow.full and not (connection.ending or gone.done()):
                    await _first_of(gone, outflow.free(), LOOK_SECONDS)
                connection.sent()
            elif connection.ending:
                return
            elif not await _first_of(gone, connection.wake.wait(), settings.STREAM_HEARTBEAT_SECONDS):
                await _send(send, _event("heartbeat", connection_id=connection.id))
    finally:
        outflow.release()


async def _first_of(gone: "asyncio.Task[None]", other: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Wait for either of the two; False when neither came within `seconds`."""
    task = asyncio.ensure_future(other)
    try:
        done, _ = await asyncio.wait({gone, task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
