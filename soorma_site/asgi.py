"""One ASGI application: the two hot routes as plain ASGI, sockets through Channels, all else through Django."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "soorma_site.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter

from tracker.bus.publish import publish_app
from tracker.bus.stream import stream_app
from tracker.live.routing import socket_routes
from tracker.runtime import runtime

HOT = {"/v1/events/publish": publish_app, "/v1/events/stream": stream_app}
sockets = AuthMiddlewareStack(URLRouter(socket_routes))


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Route by protocol and path. Daphne has no lifespan, so the first request starts what runs in the background."""
    if scope["type"] == "lifespan":
        await runtime.lifespan(receive, send)
        return
    runtime.ensure_started()
    if scope["type"] == "websocket":
        await sockets(scope, receive, send)
    else:
        await HOT.get(scope["path"], django_application)(scope, receive, send)
