"""`POST /v1/events/publish`: the hot way in, a plain ASGI application. One parse, one hop to the writer, one commit."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from pydantic import BaseModel, ConfigDict, ValidationError

from accounts.auth import Caller, Miss, bearer, cached_caller, caller_for_token
from tracker import writer
from tracker.changes import Message, Outcome
from tracker.envelope import Envelope
from tracker.errors import (
    CONTENT_TYPE,
    Forbidden,
    Invalid,
    NotAllowed,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
    pointers,
)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Publish(BaseModel):
    """The body: an event under `event`."""

    model_config = ConfigDict(extra="ignore")

    event: Envelope


async def publish_app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Record one event and say so after its commit: 200 `{success, event_id, message}`."""
    try:
        if scope["method"] != "POST":
            raise NotAllowed("use POST")
        caller = await caller_of(scope, "publish")
        body = await read_body(receive, settings.MAX_EVENT_BYTES)
        outcome = (await writer.commit([message_from(caller, parse(body))]))[0]
    except Problem as problem:
        await respond(send, problem.status, problem.body(), CONTENT_TYPE, problem.headers)
        return
    await respond(send, 200, orjson.dumps(answer(outcome)), "application/json")


def answer(outcome: Outcome) -> dict[str, Any]:
    """What the publisher hears."""
    said = {"recorded": "recorded", "duplicate": "recorded before"}.get(
        outcome.result, f"recorded, but refused: {outcome.detail}"
    )
    return {"success": True, "event_id": outcome.event_id, "message": said}


def parse(body: bytes) -> Envelope:
    """The event of a publish body; Invalid with a pointer for each fault."""
    try:
        return Publish.model_validate_json(body).event
    except ValidationError as error:
        raise Invalid(
            "the event does not fit the envelope", errors=pointers(error.errors(include_url=False, include_input=False))
        ) from None


def message_from(caller: Caller, envelope: Envelope) -> Message:
    """The change that records the event; Forbidden when it speaks for a tenant or user that the key does not."""
    if caller.tenant_id is not None and envelope.tenant_id != caller.tenant_id:
        raise Forbidden(f"the key is bound to another tenant than {envelope.tenant_id!r}")
    if caller.user_id is not None and envelope.user_id != caller.user_id:
        raise Forbidden(f"the key is bound to another user than {envelope.user_id!r}")
    return Message(
        workspace_id=caller.workspace_id, tenant_id=envelope.tenant_id, by=f"agent:{envelope.source}", envelope=envelope, workspace=caller.workspace
    )  # fmt: skip


async def caller_of(scope: dict[str, Any], needed: str) -> Caller:
    """Whose key this is; Unauthenticated without a valid one, Forbidden without the scope."""
    token = bearer(scope["headers"])
    found = cached_caller(token) if token else None
    if token and isinstance(found, Miss):
        found = await sync_to_async(caller_for_token, thread_sensitive=False)(token)
    if not isinstance(found, Caller):
        raise Unauthenticated("send a valid API key as 'Authorization: Bearer ...'")
    if not found.may(needed):
        raise Forbidden(f"this needs the scope {needed!r}")
    return found


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole request body; TooLarge beyond `most` bytes."""
    parts, size = [], 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Unavailable("the client went away")
        part = event.get("body", b"")
        size += len(part)
        if size > most:
            raise TooLarge(f"an event may have {most} bytes")
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts)


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> None:
    """A whole response."""
    lines = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    lines += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
