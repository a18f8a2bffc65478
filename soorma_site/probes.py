"""`/health`: the process answers. `/ready`: what it depends on answers too."""

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from tracker import writer

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
