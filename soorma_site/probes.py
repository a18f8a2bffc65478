"""`/health`: the process answers. `/ready`: what it depends on answers too. `/metrics`: how it does."""

import hmac
from ipaddress import ip_address

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from soorma_site.problems import answer
from tracker import prometheus, writer
from tracker.errors import Forbidden, Unauthenticated

TIMEOUT = 2  # seconds that Redis may take to answer
# Reading works on a full disk. These write, and change nothing.
WRITE = {"sqlite": "PRAGMA user_version = 0", "postgresql": "SELECT pg_current_xact_id()"}


def health(request: HttpRequest) -> JsonResponse:
    """200 as long as the process serves; needs no token (the SDK asks before its first call)."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when the database and Redis (where one is set) answer, else 503; the body says which does not.

    After a commit that failed, the database has to take a write as well.
    """
    checks = {"database": _database(), "redis": _redis()}
    good = all(word in {"ok", "not used"} for word in checks.values())
    return JsonResponse({"status": "ready" if good else "not ready", "checks": checks}, status=200 if good else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """What Prometheus reads, of this process and of all workspaces.

    With `SOORMA_METRICS_TOKEN` for whoever has it; without, for programs on this machine, not through a proxy.
    """
    if settings.METRICS_TOKEN:
        sent = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(sent, f"Bearer {settings.METRICS_TOKEN}".encode()):
            return answer(Unauthenticated("send the token of SOORMA_METRICS_TOKEN as 'Authorization: Bearer ...'"))
    elif not _from_here(request):
        return answer(Forbidden("only this machine may read the metrics; SOORMA_METRICS_TOKEN lets others do so"))
    body, content_type = prometheus.exposition(request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)


def _from_here(request: HttpRequest) -> bool:
    if any(name.startswith(("X-Forwarded-", "X-Real-", "Forwarded", "Via")) for name in request.headers):
        return False  # a proxy passes on what somebody elsewhere asks
    try:
        return ip_address(request.META.get("REMOTE_ADDR") or "").is_loopback
    except ValueError:
        return False


def _database() -> str:
    word = "unreachable"
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            if writer.failing():
                word = "not writable"
                cursor.execute(WRITE[connection.vendor])
    except DatabaseError as error:
        return f"{word}: {type(error).__name__}"
    return "ok"


def _redis() -> str:
    if not settings.REDIS_URL:
        return "not used"
    try:
        with redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT) as client:
            client.ping()
    except redis.RedisError as error:
        return f"unreachable: {type(error).__name__}"
    return "ok"
