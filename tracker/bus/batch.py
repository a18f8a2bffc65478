"""`POST /v1/events/batch`: many events in one body and one commit, each of which stands or falls by itself."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from django.conf import settings
from pydantic import ValidationError

from accounts.auth import Caller
from tracker import writer
from tracker.bus import cloudevents
from tracker.bus.publish import (
    Receive,
    Scope,
    Send,
    caller_of,
    faults,
    media_type,
    message_from,
    only,
    parse_json,
    read_body,
    respond,
    with_problems,
)
from tracker.changes import Message, Outcome
from tracker.envelope import Envelope, dumps
from tracker.errors import Forbidden, Invalid, TooLarge, pointers


class NotTaken(Exception):
    """An event that is not recorded"""

    def __init__(self, event: Any, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        """`event` as it came; `errors`: a pointer and a reason for each fault."""
        super().__init__(detail)
        given = event.get("id") if isinstance(event, dict) else None
        self.event_id = given if isinstance(given, str) else None
        self.detail = detail
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Intake:
    """How one caller's events become changes.

    `cloud`: they are CloudEvents; `measured`: each may be too large by itself.
    """

    caller: Caller
    cloud: bool = False
    measured: bool = False

    def take(self, event: Any, at: tuple[int, ...] = ()) -> Message:
        """The change that records the event, which stands at `at` in its document. Raises NotTaken."""
        if self.measured and len(dumps(event).encode()) > settings.MAX_EVENT_BYTES:
            raise NotTaken(event, f"an event may have {settings.MAX_EVENT_BYTES} bytes")
        try:
            envelope = Envelope.model_validate(cloudevents.envelope_of(event) if self.cloud else event)
            return message_from(self.caller, envelope)
        except cloudevents.NoEnvelope as fault:
            errors = pointers([{"loc": (*at, fault.attribute), "msg": str(fault)}])
            raise NotTaken(event, str(fault), errors) from None
        except ValidationError as error:
            name = partial(cloudevents.attribute_of, event) if self.cloud else str
            raise NotTaken(event, "the event does not fit the envelope", faults(error, at, name)) from None
        except Forbidden as refusal:
            raise NotTaken(event, refusal.detail) from None


@with_problems
async def batch_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Record an array of events: 200 `{results}` in its order, after their commit."""
    caller = await caller_of(scope, "publish")
    only(scope, "POST")
    body = await read_body(receive, settings.MAX_BODY_BYTES, "a batch")
    intake = Intake(caller, media_type(scope) == cloudevents.BATCH, len(body) > settings.MAX_EVENT_BYTES)
    results = await record(intake, events_in(body))
    await respond(send, 200, orjson.dumps({"results": results}), "application/json")


def events_in(body: bytes) -> list[Any]:
    """The elements of a body; Invalid when it is no array, TooLarge when there are too many."""
    events = parse_json(body)
    if not isinstance(events, list):
        raise Invalid("a batch is an array of events", errors=[{"pointer": "", "detail": "must be an array"}])
    if len(events) > settings.MAX_BATCH_EVENTS:
        raise TooLarge(f"a batch may have {settings.MAX_BATCH_EVENTS} events")
    return events


async def record(intake: Intake, events: list[Any]) -> list[dict[str, Any]]:
    """Record those that can be, in one commit; what came of each, in order."""
    taken: list[Message | NotTaken] = []
    for place, event in enumerate(events):
        try:
            taken.append(intake.take(event, (place,)))
        except NotTaken as fault:
            taken.append(fault)
    changes = [one for one in taken if isinstance(one, Message)]
    outcomes = iter(await writer.commit(changes) if changes else [])
    return [refusal(one) if isinstance(one, NotTaken) else result(next(outcomes)) for one in taken]


def result(outcome: Outcome) -> dict[str, Any]:
    """What the sender of an event hears once it is committed."""
    return {
        "event_id": outcome.event_id,
        "outcome": outcome.result,
        "seq": outcome.seq,
        "plan_id": outcome.plan_id or None,
        "task_id": outcome.task_id or None,
        "detail": outcome.detail or None,
    }


def refusal(fault: NotTaken) -> dict[str, Any]:
    """What the sender of an event hears that is not recorded."""
    said = {"event_id": fault.event_id, "outcome": "invalid", "seq": None, "plan_id": None, "task_id": None}
    return {**said, "detail": fault.detail} | ({"errors": fault.errors} if fault.errors else {})
