"""Who may open a socket, and who may keep it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.sessions.models import Session
from django.http.request import split_domain_port, validate_host
from django.utils import timezone

from accounts import tokens
from accounts.auth import Caller, bearer, caller_for_scope, caller_for_token, key_caller, member_caller
from accounts.models import ApiKey, Membership
from tracker.models import LiveTicket

TICKET_SECONDS = 60
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who opened a socket; `session_key` is empty for keys and tickets."""

    caller: Caller
    session_key: str = ""


def visitor(scope: Mapping[str, Any]) -> Visitor | None:
    """Who opens this socket: by `?ticket=`, else by bearer key, else by session; None if nobody we know. Blocking."""
    ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
    token = bearer(scope["headers"])
    if ticket is not None:
        caller = redeem(ticket[0])
    elif token is not None:
        caller = caller_for_token(token)
    else:
        caller = caller_for_scope(scope)
        return None if caller is None else Visitor(caller, scope["session"].session_key or "")
    return None if caller is None else Visitor(caller)


def issue(caller: Caller) -> str:
    """A ticket that opens one socket as this caller, within a minute."""
    now = timezone.now()
    LiveTicket.objects.filter(expires_at__lt=now).delete()
    ticket = tokens.new_link()
    LiveTicket.objects.create(
        digest=tokens.digest(ticket),
        key_id=caller.key_id,
        membership_id=caller.member_id,
        expires_at=now + timedelta(seconds=TICKET_SECONDS),
    )
    return ticket


def redeem(ticket: str) -> Caller | None:
    """Use a ticket up, of several callers one; None if it is unknown, used, expired, or its owner has lost access."""
    if len(ticket) > tokens.LONGEST:
        return None
    rows = LiveTicket.objects.select_related("key__workspace", "membership__workspace", "membership__user")
    found = rows.filter(digest=tokens.digest(ticket)).first()
    if found is None or not LiveTicket.objects.filter(pk=found.pk).delete()[0]:
        return None
    if found.expires_at <= timezone.now():
        return None
    if found.key is not None and found.key.state == "active":
        return key_caller(found.key)
    if found.membership is not None and found.membership.user.is_active:
        return member_caller(found.membership)
    return None


def same_origin(scope: Mapping[str, Any]) -> bool:
    """Whether a page of ours opens this socket, or no browser at all (browsers always send their Origin)."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in {b"origin", b"host"}}
    origin, host = headers.get(b"origin"), headers.get(b"host", "")
    if origin is None:
        return True
    if origin.lower() in (trusted.lower().rstrip("/") for trusted in settings.CSRF_TRUSTED_ORIGINS):
        return True
    place = _place(origin)
    domain, _ = split_domain_port(host)
    ours = bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
    return ours and place is not None and place == _place(f"{urlsplit(origin).scheme}://{host}")


def _place(origin: str) -> tuple[str, int] | None:
    """Host and port of an origin; None if it names none."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.hostname, port) if parts.hostname else None


def allowed_of(visitors: Collection[Visitor], scope: str = "read") -> set[Visitor]:
    """Those of the visitors who still have the scope, read fresh. Blocking; three queries, whatever their number."""
    keys = ApiKey.objects.filter(pk__in={who.caller.key_id for who in visitors} - {None})
    members = Membership.objects.select_related("workspace", "user").filter(user__is_active=True)
    members = members.filter(pk__in={who.caller.member_id for who in visitors} - {None})
    sessions = Session.objects.filter(
        pk__in={who.session_key for who in visitors} - {""}, expire_date__gt=timezone.now()
    )
    good_keys = {key.pk for key in keys if key.state == "active" and scope in key.scopes}
    good_members = {row.pk for row in members if member_caller(row).may(scope)}
    good_sessions = {"", *sessions.values_list("pk", flat=True)}
    return {
        who
        for who in visitors
        if (who.caller.key_id in good_keys or who.caller.member_id in good_members) and who.session_key in good_sessions
    }
