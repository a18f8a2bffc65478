"""Where the workspace wants to be told of events, as the API and the pages manage it.

For keys that read and act, each for its own tenant if it is bound to one, and for admins.
"""

import json
from typing import Any
from urllib.parse import urlsplit

import orjson
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts import audit
from accounts.auth import Caller, ScopeMissing
from planner import webhooks
from planner.happenings import EVENTS
from planner.outgoing_models import WebhookDelivery, WebhookEndpoint
from tracker.errors import Conflict, NotFound
from tracker.projections.lookup import Sight
from tracker.projections.rows import moment
from tracker.writer import record

MOST = 50  # endpoints of a workspace


def an_address(text: str) -> str:
    """An http or https URL without a password in it; raises ValueError that says what is wrong."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no address") from None
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("may hold plain letters, digits and signs only; write other names in punycode")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must not hold a user, a password or a fragment")
    return text


def trusted(caller: Caller) -> Caller:
    """The caller, who may have events sent elsewhere; raises ScopeMissing."""
    if caller.member_id is not None:
        caller.require("manage")
    elif not caller.may("read"):
        raise ScopeMissing("read")
    return caller


def seen(caller: Caller) -> QuerySet[WebhookEndpoint]:
    """Those that the caller may see."""
    return Sight.of(caller).within(WebhookEndpoint.objects.all())


def found(caller: Caller, webhook_id: str) -> WebhookEndpoint:
    """The endpoint of this id; raises NotFound."""
    endpoint = None if "\x00" in webhook_id else seen(caller).filter(webhook_id=webhook_id).first()
    if endpoint is None:
        raise NotFound("there is no webhook with this id")
    return endpoint


def found_delivery(endpoint: WebhookEndpoint, delivery_id: str) -> WebhookDelivery:
    """The endpoint's delivery of this id; raises NotFound."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoint, message_id=delivery_id)
    delivery = None if "\x00" in delivery_id else rows.first()
    if delivery is None:
        raise NotFound("there is no delivery with this id")
    return delivery


@transaction.atomic
def add(caller: Caller, request: HttpRequest, *, url: str, events: list[str], description: str) -> WebhookEndpoint:
    """A new endpoint, with its secret. Raises Conflict when there are too many."""
    if WebhookEndpoint.objects.filter(workspace_id=caller.workspace_id).count() >= MOST:
        raise Conflict(f"a workspace may have {MOST} webhooks", code="too-many")
    now = timezone.now()
    endpoint = WebhookEndpoint.objects.create(
        workspace_id=caller.workspace_id,
        tenant_id=caller.tenant_id or "",
        webhook_id=webhooks.public_id("ep"),
        url=url,
        description=description,
        events=json.dumps(_in_order(events)),
        secret=webhooks.new_secret(),
        created_by=caller.by,
        created_at=now,
        updated_at=now,
    )
    _audit(request, caller, "webhook.added", endpoint)
    return endpoint


@transaction.atomic
def change(caller: Caller, request: HttpRequest, endpoint: WebhookEndpoint, **told: Any) -> None:
    """Change what is named; an endpoint that is turned on begins without failures."""
    if "events" in told:
        told["events"] = json.dumps(_in_order(told["events"]))
    if "enabled" in told:
        told |= {"disabled_why": "", "given_up": 0}
    told["updated_at"] = timezone.now()
    for name, value in told.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=list(told))
    _audit(request, caller, "webhook.changed", endpoint)


@transaction.atomic
def remove(caller: Caller, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
    """Remove it with all that was and will be sent to it."""
    _audit(request, caller, "webhook.removed", endpoint)
    endpoint.delete()


@transaction.atomic
def rotate(caller: Caller, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
    """A new secret."""
    webhooks.rotate(endpoint, timezone.now())
    endpoint.save(update_fields=["secret", "old_secret", "old_secret_until"])
    _audit(request, caller, "webhook.rotated", endpoint)


def send_test(caller: Caller, endpoint: WebhookEndpoint) -> str:
    """Have a test event sent; gives its webhook-id."""
    about: dict[str, Any] = {"workspace_id": caller.workspace_id, "tenant_id": endpoint.tenant_id, "by": caller.by}
    outcome = record([webhooks.TestEvent(**about, endpoint=endpoint.pk)])[0]
    if outcome.result == "unknown":
        raise NotFound("there is no webhook with this id")
    return str(outcome.value)


def resend(caller: Caller, delivery: WebhookDelivery) -> str:
    """Have a delivery sent again; gives its webhook-id. Raises Conflict when its endpoint is off."""
    about: dict[str, Any] = {"workspace_id": caller.workspace_id, "tenant_id": "", "by": caller.by}
    outcome = record([webhooks.Resend(**about, delivery=delivery.pk)])[0]
    if outcome.result == "unknown":
        raise NotFound("there is no delivery with this id")
    if outcome.result == "refused":
        raise Conflict(outcome.detail, code="webhook-off")
    return str(outcome.value)


def shown(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """An endpoint without its secrets."""
    return {
        "id": endpoint.webhook_id,
        "url": endpoint.url,
        "events": json.loads(endpoint.events),
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "disabled_why": endpoint.disabled_why or None,
        "failures": endpoint.given_up,
        "tenant_id": endpoint.tenant_id or None,
        "old_secret_until": moment(endpoint.old_secret_until),
        "created_by": endpoint.created_by,
        "created_at": moment(endpoint.created_at),
        "secret": None,
    }


def shown_delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    """A delivery with all its tries."""
    return {
        "id": delivery.message_id,
        "event": delivery.event,
        "plan_id": delivery.plan_id or None,
        "state": delivery.state,
        "tries": orjson.Fragment(delivery.tries),
        "next_try_at": moment(delivery.next_try_at),
        "created_at": moment(delivery.created_at),
        "payload": orjson.Fragment(delivery.body),
    }


def _in_order(events: list[str]) -> list[str]:
    return [event for event in EVENTS if event in events]


def _audit(request: HttpRequest, caller: Caller, action: str, endpoint: WebhookEndpoint) -> None:
    by, detail = caller.by, {"id": endpoint.webhook_id, "events": json.loads(endpoint.events)}
    audit.record(action, endpoint.url, by=by, workspace=endpoint.workspace, detail=detail, request=request)
