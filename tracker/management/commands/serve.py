"""`manage.py serve`: the whole server in one process, under Daphne (default) or Uvicorn."""

import asyncio
import gc
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any

from channels.routing import get_default_application
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from accounts.bootstrap import ensure_default
from tracker import pool
from tracker.ledger_process import LedgerProcess

GOODBYE_SECONDS = 2  # for agents to answer that they have heard it


class Command(BaseCommand):
    """Migrates SQLite, prints where to go, serves until SIGTERM or Ctrl-C, ends cleanly."""

    help = "Run the server: pages, API, event bus, sockets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to listen and which server to use."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on")
        parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne", help="protocol server")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the database, greet, serve."""
        host, port = options["host"], options["port"]
        if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
            call_command("migrate", verbosity=0)
        self.greet(f"http://{'localhost' if host == '0.0.0.0' else host}:{port}")
        serve = {"daphne": serve_daphne, "uvicorn": serve_uvicorn}[options["server"]]
        with ledger_processes():
            serve(host, port)

    def greet(self, base_url: str) -> None:
        """Say where the dashboard is, with a one-time link, and where agents connect."""
        link = ensure_default(base_url)
        lines = [
            "",
            f"  Dashboard   {link or base_url}",
            "              (a one-time sign-in link; `manage.py sign_in_link NAME` makes another)",
            f"  Agents      {base_url}   for all four SOORMA_*_URL variables; docs at {base_url}/v1/docs",
            "",
        ]
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def settle_memory() -> None:
    """What is loaded now lives for ever: walking it again and again makes the tail.

    What comes later is mostly free of cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@contextmanager
def ledger_processes() -> Iterator[None]:
    """Those that the settings want, while this one serves; forked before it has threads or connections."""
    from tracker.runtime import runtime

    pool.close_all()
    settle_memory()
    for _ in range(settings.LEDGER_PROCESSES):
        runtime.processes.append(LedgerProcess(runtime.processes))
    try:
        yield
    finally:
        for process in runtime.processes:
            process.end()


def serve_daphne(host: str, port: int) -> None:
    """Daphne as a library: it has no lifespan, so its reactor starts and stops what runs in the background."""
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # before Daphne installs the asyncio reactor, on import
    from daphne.server import Server as Daphne
    from twisted.internet.defer import Deferred

    from tracker.runtime import runtime

    class Server(Daphne):  # type: ignore[misc]
        """Ends the event streams first: Daphne cancels open responses as soon as it is told to end."""

        failed = False  # to listen

        async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
            """What an application sends; a whole answer is written now, not a turn of Twisted's reactor later."""
            transport = getattr(getattr(protocol, "channel", None), "transport", None)
            await super().handle_reply(protocol, message)
            if transport and message["type"] == "http.response.body" and not message.get("more_body"):
                write_now(transport)

        def listen_error(self, failure: Any) -> None:
            """The address is taken, or not ours."""
            super().listen_error(failure)
            self.failed = True

        def kill_all_applications(self) -> "Deferred[None]":
            """What the reactor waits for before it shuts down."""
            cancel_the_rest = super().kill_all_applications
            return Deferred.fromFuture(asyncio.ensure_future(stop())).addCallback(lambda _: cancel_the_rest())

    def started() -> None:
        asyncio.get_event_loop().call_soon(runtime.ensure_started)
        settle_memory()

    async def stop() -> None:
        await runtime.stop()
        await _end_tasks()

    server = Server(
        application=get_default_application(),
        endpoints=[f"tcp:port={port}:interface={host}"],
        ready_callable=started,
        http_timeout=None,
        application_close_timeout=5,
        ping_interval=20,
        ping_timeout=30,
        # Above what an event may have, so that a larger one can be answered instead of cut off.
        websocket_max_message_size=settings.MAX_BODY_BYTES,
        websocket_max_frame_size=settings.MAX_BODY_BYTES,
        verbosity=0,
        server_name="soorma-site",
    )
    server.run()
    if server.failed:
        sys.exit(1)


def write_now(transport: Any) -> None:
    """Let a Twisted transport write what it holds.

    An error is met again by the reactor, which then ends the connection; one that is to end, the reactor ends.
    """
    if transport.connected and not transport.disconnecting:
        transport.doWrite()


async def _end_tasks() -> None:
    """Cancel what is left and wait for it: with tasks alive the interpreter can crash when the loop closes."""
    me = asyncio.current_task()
    for _ in range(3):
        left = [task for task in asyncio.all_tasks() if task is not me and not task.done()]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=3)


def serve_uvicorn(host: str, port: int) -> None:
    """Uvicorn with uvloop and httptools; the lifespan starts and stops what runs in the background."""
    import uvicorn

    from tracker.bus.intake import sessions
    from tracker.runtime import runtime

    class Server(uvicorn.Server):
        """Ends the event streams first: Uvicorn waits for open responses before it runs the lifespan's shutdown."""

        async def startup(self, sockets: list[socket] | None = None) -> None:
            """Once the application has started."""
            await super().startup(sockets)
            settle_memory()

        async def shutdown(self, sockets: list[socket] | None = None) -> None:
            """Uvicorn cuts sockets off, also those whose agents have not heard yet that the server ends."""
            await sessions.stop()
            until = time.monotonic() + GOODBYE_SECONDS
            while any(getattr(each, "close_sent", False) for each in self.server_state.connections):
                if time.monotonic() > until:
                    break
                await asyncio.sleep(0.01)
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: Any) -> None:
            """SIGTERM and SIGINT come here."""
            runtime.end_streams_soon()
            # Uvicorn's own handler would end the process by the signal, not with 0.
            self.should_exit = True

    config = uvicorn.Config(
        "soorma_site.asgi:application",
        host=host,
        port=port,
        log_level="warning",
        lifespan="on",
        loop="uvloop",
        http="httptools",
        ws_ping_interval=20,
        ws_ping_timeout=30,
        ws_max_size=settings.MAX_BODY_BYTES,
        ws_per_message_deflate=False,  # each socket would compress the same frame once more, and keep a window for it
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    Server(config).run()
