"""Where the workspace wants to be told of events, and what was sent there.

For keys that read and act, each for its own tenant if it is bound to one, and for admins.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from django.http import HttpResponse
from ninja import Query, Router, Schema
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from accounts.auth import needs
from planner import endpoints
from planner.endpoints import an_address, found, found_delivery, shown, shown_delivery, trusted
from planner.happenings import EVENTS
from planner.outgoing_models import URL, WebhookDelivery
from tracker.api.paging import page, page_body
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, Problem, answer, no_content
from tracker.envelope import Text, no_nul

router = Router(tags=["webhooks"])
Event = Literal["approval.requested", "approval.decided", "approval.expired", "plan.failed", "task.stalled"]


Address = Annotated[str, StringConstraints(max_length=URL), AfterValidator(an_address)]
Words = Annotated[str, StringConstraints(max_length=255, strip_whitespace=True), AfterValidator(no_nul)]
Events = Annotated[list[Event], Field(min_length=1, max_length=len(EVENTS))]


class Told(Schema):
    """Input: what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class WebhookIn(Told):
    """An endpoint. Without `events`, all of them."""

    url: Address
    events: Events = Field(default_factory=lambda: list(get_args(Event)), validate_default=False)
    description: Words = ""


class WebhookChange(Told):
    """What is to be different; what is left out stays."""

    url: Address | None = None
    events: Events | None = None
    description: Words | None = None
    enabled: bool | None = None


class WebhookOut(Schema):
    """An endpoint. `secret` is there when it is new, and never again; `disabled_why`: the server turned it off."""

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_why: str | None
    failures: int = Field(description="deliveries given up in a row")
    tenant_id: str | None = Field(description="the only tenant whose events it is told; null: all")
    old_secret_until: datetime | None = Field(description="until then the secret before signs as well")
    created_by: str
    created_at: datetime
    secret: str | None = None


class WebhookList(Schema):
    """All endpoints that the caller may see."""

    items: list[WebhookOut]


class TryOut(Schema):
    """What came of one try."""

    at: datetime
    status: Literal["delivered", "failed", "gone", "refused"]
    code: int | None = Field(description="the receiver's status code; null: there was no answer")
    ms: int
    response: str = Field(description="the first 500 characters")
    reason: str


class DeliveryOut(Schema):
    """One event for one endpoint; `id` is its webhook-id."""

    id: str
    event: str
    plan_id: str | None
    state: Literal["pending", "delivered", "failed", "refused"]
    tries: list[TryOut]
    next_try_at: datetime | None
    created_at: datetime
    payload: dict[str, Any]


class DeliveryPage(Schema):
    """A page of deliveries, newest first."""

    items: list[DeliveryOut]
    next_cursor: str | None


class DeliveryFilter(Schema):
    """Which deliveries."""

    state: Literal["", "pending", "delivered", "failed", "refused"] = ""
    cursor: Text | None = None
    limit: int = Field(50, ge=1, le=200)


class Sent(Schema):
    """It is on its way under this webhook-id."""

    id: str


@router.get("/webhooks", response={200: WebhookList, **REFUSALS})
@needs("act")
def list_webhooks(request: CallerRequest) -> HttpResponse:
    """The endpoints."""
    return answer({"items": [shown(one) for one in endpoints.seen(trusted(request.caller)).order_by("id")]})


@router.post("/webhooks", response={201: WebhookOut, 409: Problem, **REFUSALS})
@needs("act")
def add_webhook(request: CallerRequest, told: WebhookIn) -> HttpResponse:
    """Add an endpoint; its secret is in this answer and in no other."""
    caller = trusted(request.caller)
    endpoint = endpoints.add(caller, request, url=told.url, events=list(told.events), description=told.description)
    return answer(shown(endpoint) | {"secret": endpoint.secret}, status=201)


@router.get("/webhooks/{webhook_id}", response={200: WebhookOut, **MISSING})
@needs("act")
def one_webhook(request: CallerRequest, webhook_id: str) -> HttpResponse:
    """One endpoint."""
    return answer(shown(found(trusted(request.caller), webhook_id)))


@router.patch("/webhooks/{webhook_id}", response={200: WebhookOut, **MISSING})
@needs("act")
def change_webhook(request: CallerRequest, webhook_id: str, told: WebhookChange) -> HttpResponse:
    """Change an endpoint; `enabled: true` also forgets its failures."""
    endpoint = found(trusted(request.caller), webhook_id)
    endpoints.change(
        request.caller,
        request,
        endpoint,
        **{name: value for name, value in told.model_dump().items() if value is not None},
    )
    return answer(shown(endpoint))


@router.delete("/webhooks/{webhook_id}", response={204: None, **MISSING})
@needs("act")
def remove_webhook(request: CallerRequest, webhook_id: str) -> HttpResponse:
    """Remove an endpoint with its deliveries; what waits is not sent."""
    endpoints.remove(request.caller, request, found(trusted(request.caller), webhook_id))
    return no_content()


@router.post("/webhooks/{webhook_id}/rotate", response={200: WebhookOut, **MISSING})
@needs("act")
def rotate_secret(request: CallerRequest, webhook_id: str) -> HttpResponse:
    """Give it a new secret, which is in this answer and in no other; for a day the old one signs as well."""
    endpoint = found(trusted(request.caller), webhook_id)
    endpoints.rotate(request.caller, request, endpoint)
    return answer(shown(endpoint) | {"secret": endpoint.secret})


@router.post("/webhooks/{webhook_id}/test", response={200: Sent, **MISSING})
@needs("act")
def test_webhook(request: CallerRequest, webhook_id: str) -> HttpResponse:
    """Send it a `webhook.test`, also when it is off."""
    return answer({"id": endpoints.send_test(request.caller, found(trusted(request.caller), webhook_id))})


@router.get("/webhooks/{webhook_id}/deliveries", response={200: DeliveryPage, **MISSING})
@needs("act")
def list_deliveries(request: CallerRequest, webhook_id: str, which: Query[DeliveryFilter]) -> HttpResponse:
    """What was sent to it, newest first."""
    rows = WebhookDelivery.objects.filter(endpoint=found(trusted(request.caller), webhook_id))
    rows = rows.filter(state=which.state) if which.state else rows
    some, cursor = page("deliveries", rows, which.cursor, which.limit)
    return answer(page_body([shown_delivery(one) for one in some], cursor))


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/resend", response={200: Sent, 409: Problem, **MISSING})
@needs("act")
def resend_delivery(request: CallerRequest, webhook_id: str, delivery_id: str) -> HttpResponse:
    """Send it again, now, under the same webhook-id; another round of tries begins."""
    endpoint = found(trusted(request.caller), webhook_id)
    return answer({"id": endpoints.resend(request.caller, found_delivery(endpoint, delivery_id))})
