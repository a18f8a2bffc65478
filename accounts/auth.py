"""Who is calling and what they may do: API keys for agents, sessions for people, one `Caller` for both."""

import enum
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from typing import Any, Literal, TypeVar, cast

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.db.models import Q
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from ninja.operation import Operation
from ninja.security.base import AuthBase
from ninja.utils import check_csrf, contribute_operation_callback

from accounts import refusals, tokens
from accounts.models import ApiKey, Membership, Role, User, Workspace

F = TypeVar("F", bound=Callable[..., Any])

ROLE_SCOPES: Mapping[str, frozenset[str]] = {
    Role.VIEWER: frozenset({"read"}),
    Role.OPERATOR: frozenset({"read", "act"}),
    Role.ADMIN: frozenset({"read", "act", "publish", "manage"}),
}
CACHE_SECONDS = 5.0
USE_INTERVAL = timedelta(minutes=1)


class AuthError(Exception):
    """A refusal: the HTTP `status` and the problem `code` that an API answers with."""

    status = 403
    code = "forbidden"


class Unauthenticated(AuthError):
    """There is no valid API key and no signed-in session."""

    status = 401
    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__("send a valid API key as 'Authorization: Bearer ...', or sign in")


class ScopeMissing(AuthError):
    """The caller is known and lacks the scope `scope`."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs the scope {scope!r}")
        self.scope = scope


class CsrfFailed(AuthError):
    """A signed-in session changes something without Django's CSRF token."""

    def __init__(self) -> None:
        super().__init__("send the CSRF token of the session as X-CSRFToken")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a key or a signed-in member, in one workspace.

    `tenant_id` and `user_id` are what a key is bound to, None for keys that are not and for members; `by` is how logs
    name the caller; `scopes` are among publish, read, act and (members only) manage.
    """

    workspace_id: int
    workspace: str
    tenant_id: str | None
    user_id: str | None
    scopes: frozenset[str]
    by: str
    key_id: int | None = None
    member_id: int | None = None

    def may(self, scope: str) -> bool:
        """Whether the caller has the scope."""
        return scope in self.scopes

    def require(self, scope: str) -> None:
        """Raise ScopeMissing unless the caller has the scope."""
        if scope not in self.scopes:
            raise ScopeMissing(scope)

    def sees(self, tenant_id: str | None) -> bool:
        """Whether a thing of this tenant is visible; a caller bound to no tenant sees all of its workspace."""
        return self.tenant_id is None or self.tenant_id == tenant_id


# --- keys -------------------------------------------------------------------------------------------------------------


class Miss(enum.Enum):
    """The type of MISS."""

    MISS = "miss"


MISS: Literal[Miss.MISS] = Miss.MISS
# Two memories, so that a flood of wrong tokens does not push the good ones out.
_known: tokens.Memory[Caller] = tokens.Memory(size=10_000, ttl=CACHE_SECONDS)
_unknown: tokens.Memory[bool] = tokens.Memory(size=10_000, ttl=CACHE_SECONDS)
_used: dict[int, float] = {}
_used_lock = threading.Lock()


def caller_for_token(token: str) -> Caller | None:
    """Who a key stands for, None if it is unknown, expired or revoked. One SELECT, or none for the next few seconds.

    Blocking: on an event loop ask `cached_caller` first, and on MISS call this through `database_sync_to_async`.
    """
    found = cached_caller(token)
    return _read_key(tokens.digest(token)) if found is MISS else found


def cached_caller(token: str) -> Caller | Literal[Miss.MISS] | None:
    """`caller_for_token` without the database: MISS when the answer is not at hand. Never blocks."""
    if len(token) > tokens.LONGEST or not token.startswith(tokens.KEY_PREFIX):
        return None
    digest = tokens.digest(token)
    caller = _known.get(digest)
    if caller is not None:
        _note_use(caller)
        return caller
    return None if _unknown.get(digest) else MISS


def _read_key(digest: str) -> Caller | None:
    known, unknown = _known.generation, _unknown.generation
    key = ApiKey.objects.select_related("workspace").filter(digest=digest, revoked_at__isnull=True).first()
    if key is None or key.state != "active":
        _unknown.put(digest, True, unknown)
        return None
    caller = key_caller(key)
    _known.put(digest, caller, known, until=key.expires_at.timestamp() if key.expires_at else None)
    _note_use(caller)
    return caller


def key_caller(key: ApiKey) -> Caller:
    """The caller that a key stands for; who decides with a key bound to a user counts as that user."""
    return Caller(
        workspace_id=key.workspace_id,
        workspace=key.workspace.name,
        tenant_id=key.tenant_id,
        user_id=key.user_id,
        scopes=frozenset(key.scopes),
        by=f"user:{key.user_id}" if key.user_id is not None else f"key:{key.prefix}",
        key_id=key.pk,
    )


def forget_keys() -> None:
    """Empty the memory of keys in this process."""
    _known.clear()
    _unknown.clear()


@receiver([post_save, post_delete], sender=ApiKey, dispatch_uid="accounts.forget_keys.key")
@receiver([post_save, post_delete], sender=Workspace, dispatch_uid="accounts.forget_keys.workspace")
def _key_changed(**_: Any) -> None:
    # Once for this transaction and once more for the readers that still saw the rows of before it.
    forget_keys()
    transaction.on_commit(forget_keys)


def _note_use(caller: Caller) -> None:
    if caller.key_id is not None:
        with _used_lock:
            _used[caller.key_id] = time.time()


def write_uses() -> int:
    """Write `last_used_at` of the keys used since the last call, to the minute; the count of rows written.

    Uses are gathered in memory, so that no request waits for this. The server calls it now and then and at its end.
    """
    with _used_lock:
        used = dict(_used)
        _used.clear()
    written = 0
    for key_id, seconds in used.items():
        at = datetime.fromtimestamp(seconds, UTC)
        due = Q(last_used_at__isnull=True) | Q(last_used_at__lte=at - USE_INTERVAL)
        written += ApiKey.objects.filter(due, pk=key_id).update(last_used_at=at)
    return written


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token of an ASGI scope's headers; None if there is no bearer header, "" if it is empty."""
    for name, value in headers:
        if name == b"authorization":
            return _token_of(value.decode("latin-1"))
    return None


def _token_of(header: str) -> str | None:
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


# --- people -----------------------------------------------------------------------------------------------------------


def member_caller(membership: Membership) -> Caller:
    """The caller that a signed-in member is."""
    return Caller(
        workspace_id=membership.workspace_id,
        workspace=membership.workspace.name,
        tenant_id=None,
        user_id=None,
        scopes=ROLE_SCOPES[membership.role],
        by=membership.user.by,
        member_id=membership.pk,
    )


def memberships_of(request: HttpRequest) -> list[Membership]:
    """The workspaces of the signed-in user, by name; read once per request."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return []
    found: list[Membership] | None = getattr(request, "_memberships", None)
    if found is None:
        found = _read_memberships(user.pk)
        request._memberships = found  # type: ignore[attr-defined]
    return found


def _read_memberships(user_id: int) -> list[Membership]:
    rows = Membership.objects.select_related("workspace", "user")
    return list(rows.filter(user_id=user_id, user__is_active=True).order_by("workspace__name"))


def _chosen(memberships: list[Membership], session: SessionBase) -> Membership | None:
    wanted = session.get("workspace")
    return next((one for one in memberships if one.workspace_id == wanted), next(iter(memberships), None))


def current_membership(request: HttpRequest) -> Membership | None:
    """The signed-in user's membership in the workspace that the session is in (else the first by name)."""
    memberships = memberships_of(request)
    return _chosen(memberships, request.session) if memberships else None


def caller_for_request(request: HttpRequest) -> Caller | None:
    """Who sent a request: its bearer key if it has a bearer header (also a wrong one), else the session's member."""
    token = _token_of(request.META.get("HTTP_AUTHORIZATION", ""))
    if token is not None:
        return caller_for_token(token)
    membership = current_membership(request)
    return None if membership is None else member_caller(membership)


def caller_for_scope(scope: Mapping[str, Any]) -> Caller | None:
    """Who opened a WebSocket, from the session that AuthMiddlewareStack put into its scope. Blocking.

    Ask again to see whether an open socket may stay: all but the session's own data is read fresh.
    """
    user, session = scope.get("user"), scope.get("session")
    if user is None or session is None or not user.is_authenticated:
        return None
    if not session.session_key or not session.exists(session.session_key):
        return None
    membership = _chosen(_read_memberships(user.pk), session)
    return None if membership is None else member_caller(membership)


# --- the API ----------------------------------------------------------------------------------------------------------


class CallerAuth(AuthBase):
    """Ninja's `auth=`: puts the Caller into `request.caller` and `request.auth`, raises what refuses it.

    A key needs nothing more; a session that changes something needs Django's CSRF token.
    """

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __init__(self, scope: str | None = None) -> None:
        self.scope = scope
        super().__init__()

    def __call__(self, request: HttpRequest) -> Caller:
        """The caller, or Unauthenticated, CsrfFailed, ScopeMissing."""
        caller = caller_for_request(request)
        if caller is None:
            raise Unauthenticated
        if caller.member_id is not None and check_csrf(request) is not None:
            raise CsrfFailed
        if self.scope is not None:
            caller.require(self.scope)
        request.caller = caller  # type: ignore[attr-defined]
        return caller


def needs(scope: str) -> Callable[[F], F]:
    """Below `@router.get(...)`: this operation is for callers with the scope; refused before anything is parsed."""

    def mark(view: F) -> F:
        contribute_operation_callback(view, partial(_set_auth, CallerAuth(scope)))
        return view

    return mark


def _set_auth(auth: CallerAuth, operation: Operation) -> None:
    operation.auth_param = auth
    operation.auth_callbacks = [auth]


# --- pages ------------------------------------------------------------------------------------------------------------


class MemberRequest(HttpRequest):
    """What a view behind `member_required` gets."""

    caller: Caller
    membership: Membership
    user: User


View = Callable[..., HttpResponseBase]


def scope_required(scope: str) -> Callable[[View], View]:
    """A page for signed-in members whose role has the scope: others are sent to sign in, or get a 403 page."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return refusals.sign_in_first(request)
            membership = current_membership(request)
            if membership is None:
                return refusals.no_workspace(request)
            member = cast(MemberRequest, request)
            member.membership, member.caller = membership, member_caller(membership)
            if not member.caller.may(scope):
                return refusals.too_little(request)
            return view(member, *args, **kwargs)

        return checked

    return decorate


def member_required(view: View) -> View:
    """A page for any member; sets `request.caller` and `request.membership`."""
    return scope_required("read")(view)


def operator_required(view: View) -> View:
    """A page for operators and admins."""
    return scope_required("act")(view)


def admin_required(view: View) -> View:
    """A page for admins."""
    return scope_required("manage")(view)
