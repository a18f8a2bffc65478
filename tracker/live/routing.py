"""Paths of the browsers' sockets."""

from typing import Any, cast

from django.urls import path

from tracker.live.sockets import live_socket

# Django's `path` is typed for views; the router of Channels calls what it finds as an ASGI application.
socket_routes = [path("ws/live", cast(Any, live_socket))]
