"""Outgoing webhooks by Standard Webhooks 1.0: signed, tried again with growing pauses, every try kept.

A delivery's `webhook-id` is the same at every try, also when it is resent by hand: a receiver that has it already may
ignore it. It may come twice when the server dies between sending and noting.
"""

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from standardwebhooks import Webhook

from planner.happenings import TEST, Happening
from planner.outbox import outbox
from planner.outgoing_models import WebhookDelivery as Delivery
from planner.outgoing_models import WebhookEndpoint as Endpoint
from planner.posting import Posted, post
from tracker.changes import Change, Outcome
from tracker.envelope import dumps
from tracker.projections.rows import moment
from tracker.world import World

DUE, FORGET = "webhook", "webhook-forget"  # kinds of deadlines
OLD_SECRET_LASTS = timedelta(hours=24)  # after a rotation both secrets sign
MOST_TRIES_KEPT = 50
JITTER = 0.1  # of a pause, so that what failed together does not come back together
OFF = "the endpoint is off"
State = Delivery.State
_chance = secrets.SystemRandom()


@dataclass(slots=True, kw_only=True)
class Tried(Change):
    """A delivery was sent, and this came of it. `number`: tries before it; a try that is noted already is left."""

    delivery: int
    number: int
    at: datetime
    posted: Posted


@dataclass(slots=True, kw_only=True)
class Resend(Change):
    """Somebody wants a delivery to be sent again, now, with the same id."""

    delivery: int


@dataclass(slots=True, kw_only=True)
class TestEvent(Change):
    """Somebody wants to see whether an endpoint hears. `value` of the outcome: the delivery's message id."""

    __test__ = False  # pytest: this is no test

    endpoint: int


def new_secret() -> str:
    """A signing secret as the specification writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def public_id(prefix: str) -> str:
    """An id for the outside: `ep_...` of an endpoint, `msg_...` of a message."""
    return f"{prefix}_{secrets.token_hex(16)}"


def rotate(endpoint: Endpoint, now: datetime) -> None:
    """Give it a new secret; for a day the old one signs as well. Not saved yet."""
    endpoint.old_secret, endpoint.old_secret_until = endpoint.secret, now + OLD_SECRET_LASTS
    endpoint.secret = new_secret()


def signed(endpoint: Endpoint, message_id: str, body: str, at: datetime) -> dict[str, str]:
    """The header lines of one try."""
    keys = [endpoint.secret]
    if endpoint.old_secret and endpoint.old_secret_until and endpoint.old_secret_until > at:
        keys.append(endpoint.old_secret)
    return {
        "content-type": "application/json",
        "user-agent": "soorma-site-webhooks/1",
        "accept-encoding": "identity",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(message_id, at, body) for key in keys),
    }


# --- inside the ledger's transaction ----------------------------------------------------------------------------------


def file(world: World, told: Iterable[Happening]) -> None:
    """Write a delivery for every endpoint that wants to hear of one of these, due at once."""
    told = list(told)
    endpoints = Endpoint.objects.filter(workspace_id__in={one.workspace_id for one in told}, enabled=True)
    wanting = [(endpoint, set(json.loads(endpoint.events))) for endpoint in endpoints.order_by("id")]
    new = [
        _delivery(world, endpoint, one)
        for one in told
        for endpoint, events in wanting
        if one.event in events and endpoint.workspace_id == one.workspace_id
        if endpoint.tenant_id in ("", one.tenant_id)
    ]
    _send_now(world, Delivery.objects.bulk_create(new) if new else [])


def _delivery(world: World, endpoint: Endpoint, one: Happening) -> Delivery:
    body = dumps({"type": one.event, "timestamp": moment(world.now), "data": one.data})
    name = public_id("msg")
    told = {"event": one.event, "plan_id": one.plan_id, "body": body, "created_at": world.now}
    return Delivery(endpoint=endpoint, message_id=name, next_try_at=world.now, **told)


def _send_now(world: World, some: Iterable[Delivery]) -> None:
    for delivery in some:
        world.deadlines[(DUE, delivery.pk)] = world.now


def due(world: World, key: int) -> None:
    """It is time to send a delivery: claim it for this process. Void when it has ended meanwhile."""
    delivery = Delivery.objects.select_related("endpoint").filter(pk=key, state=State.PENDING).first()
    if delivery is None:
        return
    if not delivery.endpoint.enabled and delivery.event != TEST:
        _end(world, delivery, State.FAILED, reason=OFF)
        return
    outbox.claim(world, (DUE, key), ("endpoint", delivery.endpoint_id), partial(_send, delivery))


async def _send(delivery: Delivery) -> Change:
    at = datetime.now(UTC)
    headers = signed(delivery.endpoint, delivery.message_id, delivery.body, at)
    posted = await post(delivery.endpoint.url, headers, delivery.body.encode())
    about: dict[str, Any] = {"workspace_id": delivery.endpoint.workspace_id, "tenant_id": "", "by": "system"}
    return Tried(**about, delivery=delivery.pk, number=delivery.try_count, at=at, posted=posted)


def tried(world: World, change: Tried) -> Outcome:
    """Note a try: the delivery ends, or waits for the next one."""
    found = Delivery.objects.select_for_update(of=("self",)).select_related("endpoint")
    delivery = found.filter(pk=change.delivery, state=State.PENDING, try_count=change.number).first()
    if delivery is None:
        return Outcome("duplicate")
    delivery.try_count += 1
    posted = change.posted
    _keep(delivery, at=moment(change.at), status=posted.result, code=posted.status, ms=posted.ms,
          response=posted.response, reason=posted.reason)  # fmt: skip
    if posted.result == "delivered":
        _end(world, delivery, State.DELIVERED)
    elif posted.result == "refused":
        _end(world, delivery, State.REFUSED)
    elif posted.result == "gone" or delivery.try_count > len(settings.WEBHOOK_RETRIES):
        _end(world, delivery, State.FAILED)
    else:
        _again_later(world, delivery, posted.retry_after)
    _judge(world, delivery, posted)
    return Outcome("recorded")


def _keep(delivery: Delivery, **one: Any) -> None:
    delivery.tries = dumps([*json.loads(delivery.tries), one][-MOST_TRIES_KEPT:])


def _again_later(world: World, delivery: Delivery, asked: int) -> None:
    pause = settings.WEBHOOK_RETRIES[delivery.try_count - 1] * _chance.uniform(1, 1 + JITTER)
    delivery.next_try_at = world.now + timedelta(seconds=max(pause, asked))
    delivery.save(update_fields=["try_count", "tries", "next_try_at"])
    world.deadlines[(DUE, delivery.pk)] = delivery.next_try_at


def _end(world: World, delivery: Delivery, state: str, reason: str = "") -> None:
    if reason:
        _keep(delivery, at=moment(world.now), status=state, code=None, ms=0, response="", reason=reason)
    delivery.state, delivery.next_try_at = state, None
    delivery.save(update_fields=["state", "try_count", "tries", "next_try_at"])
    world.deadlines[(DUE, delivery.pk)] = None
    world.deadlines[(FORGET, delivery.pk)] = world.now + timedelta(days=settings.WEBHOOK_LOG_DAYS)


def _judge(world: World, delivery: Delivery, posted: Posted) -> None:
    """An endpoint that takes nothing for long is turned off, and says so."""
    endpoint = delivery.endpoint
    if delivery.state == State.PENDING or (posted.result == "delivered" and not endpoint.given_up):
        return
    endpoint.given_up = 0 if posted.result == "delivered" else endpoint.given_up + 1
    if posted.result == "gone":
        endpoint.enabled, endpoint.disabled_why = False, posted.reason
    elif endpoint.given_up >= settings.WEBHOOK_DISABLE_AFTER:
        endpoint.enabled = False
        endpoint.disabled_why = f"{endpoint.given_up} deliveries in a row were given up; the last one: {posted.reason}"
    endpoint.updated_at = world.now
    endpoint.save(update_fields=["given_up", "enabled", "disabled_why", "updated_at"])


def resend(world: World, change: Resend) -> Outcome:
    """Begin another round of tries, whatever came of the first."""
    found = Delivery.objects.select_for_update(of=("self",)).select_related("endpoint")
    delivery = found.filter(pk=change.delivery).first()
    if delivery is None:
        return Outcome("unknown")
    if not delivery.endpoint.enabled and delivery.event != TEST:
        return Outcome("refused", detail=OFF)
    if delivery.state != State.PENDING:
        delivery.state, delivery.try_count = State.PENDING, 0
    delivery.next_try_at = world.now
    delivery.save(update_fields=["state", "try_count", "next_try_at"])
    world.deadlines[(FORGET, delivery.pk)] = None
    _send_now(world, [delivery])
    return Outcome("recorded", value=delivery.message_id)


def test_event(world: World, change: TestEvent) -> Outcome:
    """Send an event that means nothing, also to an endpoint that is off."""
    endpoint = Endpoint.objects.filter(pk=change.endpoint).first()
    if endpoint is None:
        return Outcome("unknown")
    data = {"message": "It works.", "webhook_id": endpoint.webhook_id, "by": change.by}
    delivery = _delivery(world, endpoint, Happening(TEST, endpoint.workspace_id, endpoint.tenant_id, "", data))
    delivery.save(force_insert=True)
    _send_now(world, [delivery])
    return Outcome("recorded", value=delivery.message_id)


def forget(world: World, key: int) -> None:
    """A delivery that has ended long ago leaves the log."""
    Delivery.objects.filter(pk=key).exclude(state=State.PENDING).delete()
