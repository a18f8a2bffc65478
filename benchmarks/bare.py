"""The limit of a server: a bare ASGI application that reads a body and answers fixed JSON, served as `serve` does.

    python -m benchmarks.bare --server daphne --port 9000 --size 90

Its sockets send what `POST /` brings to everybody who is connected, as one text, and nothing else.
"""

import argparse
import gc
from typing import Any

sockets: set[Any] = set()
answer = b""
layer: Any = None


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request alike; forward the body of `POST /all` to every socket."""
    if scope["type"] == "websocket":
        await _socket(receive, send)
    elif scope["type"] == "http":
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        if scope["path"] == "/all":
            await forward(body.decode())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def forward(text: str) -> None:
    """Send a text to every socket."""
    if layer:
        await layer.group_send("all", {"type": "forward", "text": text})
        return
    for other in list(sockets):
        await other({"type": "websocket.send", "text": text})


async def _socket(receive: Any, send: Any) -> None:
    if layer:
        await _in_group(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    sockets.add(send)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    sockets.discard(send)


async def _in_group(receive: Any, send: Any) -> None:
    from channels.generic.websocket import AsyncWebsocketConsumer

    class Member(AsyncWebsocketConsumer):
        groups = ["all"]
        channel_layer_alias = "default"

        async def forward(self, event: dict[str, Any]) -> None:
            await self.send(text_data=event["text"])

    await Member()({"type": "websocket"}, receive, send)


def serve_daphne(port: int) -> None:
    import asyncio

    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    from daphne.server import Server

    Server(
        application=application, endpoints=[f"tcp:port={port}:interface=127.0.0.1"], ready_callable=gc.freeze,
        http_timeout=None, ping_interval=20, ping_timeout=30, verbosity=0, server_name="bare",
    ).run()  # fmt: skip


def serve_uvicorn(port: int) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            self.should_exit = True

    config = uvicorn.Config(
        application, host="127.0.0.1", port=port, log_level="warning", lifespan="off", loop="uvloop", http="httptools",
        ws_ping_interval=20, ws_ping_timeout=30, timeout_graceful_shutdown=3, server_header=False,
    )  # fmt: skip
    Server(config).run()


def main() -> None:
    global answer, layer
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=["daphne", "uvicorn"], required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, default=90, help="bytes of the answer")
    parser.add_argument("--layer", action="store_true", help="sockets are forwarded to by the in-memory channel layer")
    options = parser.parse_args()
    if options.layer:
        from channels.layers import get_channel_layer
        from django.conf import settings

        memory = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
        settings.configure(CHANNEL_LAYERS=memory, DATABASES={})
        layer = get_channel_layer()
    answer = b'{"said":"' + b"x" * max(0, options.size - 11) + b'"}'
    {"daphne": serve_daphne, "uvicorn": serve_uvicorn}[options.server](options.port)


if __name__ == "__main__":
    main()
