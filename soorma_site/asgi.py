"""One ASGI application: the hot routes as plain ASGI, sockets through Channels, all else through Django."""

import os
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "soorma_site.settings")

import django

django.setup(set_prefix=False)

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.conf import settings
from django.urls import path, re_path

from soorma_site.handler import BlockingHandler
from soorma_site.static_files import StaticFiles
from tracker.bus.batch import batch_app
from tracker.bus.intake import sessions
from tracker.bus.outflow import paced
from tracker.bus.publish import Receive, Scope, Send, publish_app, with_problems
from tracker.bus.stream import stream_app
from tracker.errors import TooLarge
from tracker.live.poll import live_poll
from tracker.live.routing import socket_routes
from tracker.runtime import runtime


async def no_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """There is no socket at this path: the handshake is refused."""
    await receive()
    await send({"type": "websocket.close"})


django_application = BlockingHandler()


@with_problems
async def pages_and_api(scope: Scope, receive: Receive, send: Send) -> None:
    """Django, which would write a body of any size to disk before it looks at it."""
    size = 0

    async def bounded() -> dict[str, Any]:
        nonlocal size
        event = await receive()
        size += len(event.get("body", b""))
        # To Django the client went away: it closes what it has kept, and says nothing.
        return event if size <= settings.MAX_BODY_BYTES else {"type": "http.disconnect"}

    await django_application(scope, bounded, cast(Any, send))
    if size > settings.MAX_BODY_BYTES:
        raise TooLarge(f"a body may have {settings.MAX_BODY_BYTES} bytes")


async def unhurried(scope: Scope, receive: Receive, send: Send) -> None:
    """The same, no faster than its reader: an export may be larger than what should wait in memory."""
    async with paced(send) as slow:
        await pages_and_api(scope, receive, slow)


HOT = {
    "/v1/events/publish": publish_app,
    "/v1/events/batch": batch_app,
    "/v1/events/stream": stream_app,
    "/v1/live": with_problems(AuthMiddlewareStack(live_poll)),
}
static_files = StaticFiles()
# Django's paths are typed for views; the router of Channels calls what it finds as an ASGI application.
agent_routes = [path("ws/agent", cast(Any, sessions.serve)), re_path("", cast(Any, no_socket))]
sockets = AuthMiddlewareStack(URLRouter([*socket_routes, *agent_routes]))


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Route by protocol and path. Daphne has no lifespan, so the first request starts what runs in the background."""
    if scope["type"] == "lifespan":
        await runtime.lifespan(receive, send)
        return
    runtime.ensure_started()
    if scope["type"] == "websocket":
        await sockets(scope, receive, send)
    elif scope["path"].startswith(settings.STATIC_URL):
        await static_files(scope, receive, send)
    else:
        await HOT.get(scope["path"], unhurried)(scope, receive, send)
