"""The settings pages of webhooks, for admins, and of the mails that somebody gets."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.auth import MemberRequest, admin_required, member_required
from planner import endpoints
from planner.happenings import EVENTS
from planner.outgoing_models import URL, WebhookDelivery, WebhookEndpoint
from tracker.api.paging import page
from tracker.errors import Conflict, Invalid, NotFound

PAGE = 25
SOON = timedelta(seconds=10)  # a try that is so near is waited for
STATES = [("", "All"), ("pending", "Waiting"), ("delivered", "Delivered"), ("failed", "Failed"), ("refused", "Refused")]
# How the list shows what has become of a delivery: as a state, which has a colour and an icon.
SHOWN_AS = {"delivered": "completed", "failed": "failed", "refused": "failed", "pending": "waiting", "gone": "failed"}


def an_address(text: str) -> None:
    """As a validator of forms."""
    try:
        endpoints.an_address(text)
    except ValueError as error:
        raise ValidationError(f"The address {error}.") from None


class WebhookForm(forms.Form):
    """Where to send what."""

    url = forms.CharField(
        max_length=URL,
        label="Address",
        validators=[an_address],
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/hook", "autocomplete": "off"}),
        help_text="It gets a POST for each event. Private networks are refused unless a setting allows them.",
    )
    description = forms.CharField(max_length=255, required=False, help_text="What it is for, as you will find it here.")
    events = forms.MultipleChoiceField(
        choices=[(event, f"{event}: {words}") for event, words in EVENTS.items()],
        initial=list(EVENTS),
        widget=forms.CheckboxSelectMultiple,
    )


class NotificationForm(forms.Form):
    """How somebody hears of what waits for a decision."""

    email = forms.EmailField(required=False, label="E-mail address", max_length=254)
    wants_mail = forms.BooleanField(required=False, label="Write to me when I am asked to decide")


View = Callable[..., HttpResponse]


def _of_endpoint(view: View) -> View:
    """The view of an admin gets the endpoint itself; one that is not there is a 404."""

    @wraps(view)
    def found(request: MemberRequest, webhook_id: str, **more: Any) -> HttpResponse:
        try:
            return view(request, endpoints.found(request.caller, webhook_id), **more)
        except NotFound as error:
            raise Http404 from error

    return admin_required(found)  # type: ignore[return-value]


@never_cache
@require_http_methods(["GET", "POST"])
@admin_required
def webhooks(request: MemberRequest) -> HttpResponse:
    """All endpoints and the form for another; a new one shows its secret, this once."""
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            endpoint = endpoints.add(request.caller, request, **form.cleaned_data)
        except Conflict as error:
            form.add_error(None, f"{error.detail.capitalize()}.")
        else:
            return _secret(request, endpoint, new=True)
    items = [endpoints.shown(one) for one in endpoints.seen(request.caller).order_by("id")]
    context = {"items": items, "form": form, "section": "webhooks"}
    return render(request, "planner/webhooks.html", context, status=422 if form.errors else 200)


def _secret(request: MemberRequest, endpoint: WebhookEndpoint, *, new: bool) -> HttpResponse:
    context = {"item": endpoints.shown(endpoint), "secret": endpoint.secret, "new": new, "section": "webhooks"}
    return render(request, "planner/webhook_secret.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@_of_endpoint
def webhook(request: MemberRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """One endpoint: what was sent to it, and the form to change it."""
    now = {"url": endpoint.url, "description": endpoint.description, "events": json.loads(endpoint.events)}
    form = WebhookForm(request.POST or None, initial=now)
    if request.method == "POST" and form.is_valid():
        endpoints.change(request.caller, request, endpoint, **form.cleaned_data)
        messages.success(request, "The webhook is changed.")
        return redirect("outgoing:webhook", endpoint.webhook_id)
    context = {"item": endpoints.shown(endpoint), "form": form, "section": "webhooks", **_deliveries(request, endpoint)}
    until = endpoint.old_secret_until
    context["old_secret_until"] = until if until and until > timezone.now() else None
    return render(request, "planner/webhook.html", context, status=422 if form.errors else 200)


@never_cache
@require_GET
@_of_endpoint
def deliveries(request: MemberRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """The list of deliveries alone, for htmx."""
    context = {"item": endpoints.shown(endpoint), **_deliveries(request, endpoint)}
    return render(request, "planner/_webhook_deliveries.html", context)


def _deliveries(request: MemberRequest, endpoint: WebhookEndpoint) -> dict[str, Any]:
    state, cursor = request.GET.get("state", ""), request.GET.get("cursor")
    rows = WebhookDelivery.objects.filter(endpoint=endpoint)
    if state in WebhookDelivery.State.values:
        rows = rows.filter(state=state)
    try:
        found, older = page("deliveries", rows, cursor, PAGE)
    except Invalid as error:
        raise Http404("there is no such page of deliveries") from error
    soon = timezone.now() + SOON
    return {
        "deliveries": [_shown(one) for one in found],
        "states": STATES,
        "state": state,
        "older": urlencode({"state": state, "cursor": older}) if older else "",
        "here": urlencode({"state": state, "cursor": cursor or ""}),
        "moving": any(one.next_try_at and one.next_try_at < soon for one in found),
    }


def _shown(delivery: WebhookDelivery) -> dict[str, Any]:
    tries = json.loads(delivery.tries)
    for one in tries:
        one["shown_as"] = SHOWN_AS[one["status"]]
    return {
        "id": delivery.message_id,
        "event": delivery.event,
        "plan_id": delivery.plan_id,
        "state": delivery.state,
        "shown_as": SHOWN_AS[delivery.state],
        "word": dict(STATES)[delivery.state],
        "tries": tries[::-1],
        "last": tries[-1] if tries else None,
        "next_try_at": delivery.next_try_at,
        "created_at": delivery.created_at,
        "payload": json.dumps(json.loads(delivery.body), indent=2, ensure_ascii=False),
    }


@require_POST
@_of_endpoint
def test(request: MemberRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """Sends a test event; the list shows what comes of it."""
    endpoints.send_test(request.caller, endpoint)
    messages.success(request, "A test event is on its way.")
    return redirect("outgoing:webhook", endpoint.webhook_id)


@require_POST
@_of_endpoint
def switch(request: MemberRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """Turns it on or off."""
    endpoints.change(request.caller, request, endpoint, enabled="on" in request.POST)
    messages.success(request, f"The webhook is {'on' if endpoint.enabled else 'off'} now.")
    return redirect("outgoing:webhook", endpoint.webhook_id)


@never_cache
@require_http_methods(["GET", "POST"])
@_of_endpoint
def rotate(request: MemberRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """Asks first, then makes another secret and shows it, this once."""
    if request.method == "GET":
        context = {"item": endpoints.shown(endpoint), "section": "webhooks"}
        return render(request, "planner/webhook_rotate.html", context)
    endpoints.rotate(request.caller, request, endpoint)
    return _secret(request, endpoint, new=False)


@require_http_methods(["GET", "POST"])
@_of_endpoint
def remove(request: MemberRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """Asks first, then removes it."""
    if request.method == "GET":
        context = {"item": endpoints.shown(endpoint), "section": "webhooks"}
        return render(request, "planner/webhook_remove.html", context)
    endpoints.remove(request.caller, request, endpoint)
    messages.success(request, "The webhook is removed.")
    return redirect("outgoing:webhooks")


@require_POST
@_of_endpoint
def resend(request: MemberRequest, endpoint: WebhookEndpoint, delivery_id: str) -> HttpResponse:
    """Sends a delivery again, under the same id."""
    try:
        endpoints.resend(request.caller, endpoints.found_delivery(endpoint, delivery_id))
        messages.success(request, "It is sent again, under the same id.")
    except Conflict as error:
        messages.error(request, f"It is not sent again: {error.detail}.")
    return redirect("outgoing:webhook", endpoint.webhook_id)


@never_cache
@require_http_methods(["GET", "POST"])
@member_required
def notifications(request: MemberRequest) -> HttpResponse:
    """One's own address, and whether to be written to in this workspace."""
    user, membership = request.user, request.membership
    form = NotificationForm(request.POST or None, initial={"email": user.email, "wants_mail": membership.wants_mail})
    if request.method == "POST" and form.is_valid():
        user.email, membership.wants_mail = form.cleaned_data["email"], form.cleaned_data["wants_mail"]
        user.save(update_fields=["email"])
        membership.save(update_fields=["wants_mail"])
        messages.success(request, "Your notifications are changed.")
        return redirect("outgoing:notifications")
    context = {"form": form, "mail_enabled": settings.MAIL_ENABLED, "section": "notifications"}
    return render(request, "planner/notifications.html", context, status=422 if form.errors else 200)
