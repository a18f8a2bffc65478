"""`POST /v1/events/publish`: the hot way in, a plain ASGI application. One parse, one hop to the writer, one commit."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

import orjson
from django.conf import settings
from django.db import Error
from pydantic import ValidationError

from accounts.auth import Caller, Miss, bearer, cached_caller, caller_for_token
from tracker import writer
from tracker.bus import cloudevents
from tracker.changes import Message, Outcome
from tracker.envelope import Envelope, loads
from tracker.errors import (
    CONTENT_TYPE,
    Failed,
    Forbidden,
    Invalid,
    NotAllowed,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
    pointers,
)
from tracker.reader import Reader

log = logging.getLogger(__name__)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_keys = Reader(threads=2, name="key-read")
_flights: dict[str, asyncio.Future[Caller | None]] = {}  # keys that are being looked up, by token


def with_problems(app: App) -> App:
    """The application, whose errors are answered as problems as long as its answer has not begun."""

    @wraps(app)
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(event: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(event)

        try:
            await app(scope, receive, noted)
        except Problem as problem:
            await refuse(send, problem)
        except Exception:
            if begun:
                raise
            log.exception("%s %s", scope["method"], scope["path"])
            await refuse(send, Failed())

    return answering


@with_problems
async def publish_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Record one event and say so after its commit: 200 `{success, event_id, message}`."""
    caller = await caller_of(scope, "publish")
    only(scope, "POST")
    body = await read_body(receive, settings.MAX_EVENT_BYTES)
    read = parse_cloud_event if media_type(scope) == cloudevents.EVENT else parse
    outcome = (await writer.commit([message_from(caller, read(body))]))[0]
    await respond(send, 200, orjson.dumps(answer(outcome)), "application/json")


def answer(outcome: Outcome) -> dict[str, Any]:
    """What the publisher hears."""
    said = {"recorded": "recorded", "duplicate": "recorded before"}.get(
        outcome.result, f"recorded, but refused: {outcome.detail}"
    )
    return {"success": True, "event_id": outcome.event_id, "message": said}


def parse(body: bytes) -> Envelope:
    """The event of a publish body; Invalid with a pointer for each fault."""
    said = parse_json(body)
    if not isinstance(said, dict) or "event" not in said:
        raise _misfit([{"pointer": "/event", "detail": "is required"}])
    try:
        return Envelope.model_validate(said["event"])
    except ValidationError as error:
        raise _misfit(faults(error, ("event",))) from None


def parse_cloud_event(body: bytes) -> Envelope:
    """The event of a body that is one CloudEvent; Invalid with a pointer for each fault."""
    event = parse_json(body)
    try:
        return Envelope.model_validate(cloudevents.envelope_of(event))
    except cloudevents.NoEnvelope as fault:
        raise _misfit([{"pointer": f"/{fault.attribute}", "detail": str(fault)}]) from None
    except ValidationError as error:
        raise _misfit(faults(error, name=partial(cloudevents.attribute_of, event))) from None


def parse_json(body: bytes) -> Any:
    """What a body says; Invalid when it is no JSON."""
    try:
        return loads(body)
    except ValueError as error:
        raise Invalid(f"the body is no JSON: {error}", errors=[{"pointer": "", "detail": str(error)}]) from None


def faults(
    error: ValidationError, at: tuple[str | int, ...] = (), name: Callable[[Any], Any] = str
) -> list[dict[str, str]]:
    """A pointer and a reason for each fault of an event that stands at `at` in the document.

    `name` gives what the document calls a field of the envelope.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return pointers([{"loc": (*at, *map(name, e["loc"][:1]), *e["loc"][1:]), "msg": e["msg"]} for e in found])


def _misfit(errors: list[dict[str, str]]) -> Invalid:
    return Invalid("the event does not fit the envelope", errors=errors)


def message_from(caller: Caller, envelope: Envelope) -> Message:
    """The change that records the event; Forbidden when it speaks for a tenant or user that the key does not."""
    if caller.tenant_id is not None and envelope.tenant_id != caller.tenant_id:
        raise Forbidden(f"the key is bound to another tenant than {envelope.tenant_id!r}")
    if caller.user_id is not None and envelope.user_id != caller.user_id:
        raise Forbidden(f"the key is bound to another user than {envelope.user_id!r}")
    return Message(
        workspace_id=caller.workspace_id,
        tenant_id=envelope.tenant_id,
        by=f"agent:{envelope.source}",
        envelope=envelope,
        workspace=caller.workspace,
    )


async def caller_of(scope: Scope, needed: str) -> Caller:
    """Whose key this is; Unauthenticated without a valid one, Forbidden without the scope."""
    token = bearer(scope["headers"])
    found = cached_caller(token) if token else None
    if token and isinstance(found, Miss):
        found = await _look_up(token)
    if not isinstance(found, Caller):
        raise Unauthenticated("send a valid API key as 'Authorization: Bearer ...'")
    if not found.may(needed):
        raise Forbidden(f"this needs the scope {needed!r}")
    return found


async def _look_up(token: str) -> Caller | None:
    """Whose key this is by the database, asked once for all who want to know it just now."""
    flight = _flights.get(token)
    if flight is None:
        flight = _flights[token] = asyncio.ensure_future(_keys.once(caller_for_token, token))
        flight.add_done_callback(lambda _: _flights.pop(token, None))
    try:
        return await asyncio.shield(flight)
    except Error as error:
        raise Unavailable("the database does not take this right now", retry_after=1) from error


def only(scope: Scope, method: str) -> None:
    """NotAllowed for any other method."""
    if scope["method"] != method:
        raise NotAllowed(f"use {method}", allow=method)


def media_type(scope: Scope) -> str:
    """What the body is said to be, without parameters and in lower case."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value.decode("latin-1")).partition(";")[0].strip().lower()
    return ""


async def read_body(receive: Receive, most: int, what: str = "an event") -> bytes:
    """The whole request body; TooLarge beyond `most` bytes."""
    parts, size = [], 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Unavailable("the client went away")
        part = event.get("body", b"")
        size += len(part)
        if size > most:
            raise TooLarge(f"{what} may have {most} bytes")
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts)


async def refuse(send: Send, problem: Problem) -> None:
    """A problem as the whole response."""
    await respond(send, problem.status, problem.body(), CONTENT_TYPE, problem.headers)


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> None:
    """A whole response."""
    lines = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    lines += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
