"""A client of the live socket for tests, on the application itself: no server, but the real hub and database."""

import asyncio
import json
from threading import Thread

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator

from accounts.auth import Caller
from tests.accounts.factories import closing_connection
from tracker import ledger
from tracker.live.access import Visitor
from tracker.live.connection import BUFFER_BYTES, Connection
from tracker.live.hub import hub
from tracker.live.protocol import Subscribe
from tracker.live.routing import socket_routes
from tracker.live.transport import Transport

application = AuthMiddlewareStack(URLRouter(socket_routes))
PATIENCE = 10  # seconds that an expected frame may take
HOST = (b"host", b"testserver")


def with_key(token):
    return [HOST, (b"authorization", f"Bearer {token}".encode())]


def with_session(browser, origin="http://testserver"):
    cookie = browser.cookies["sessionid"].value
    return [HOST, (b"cookie", f"sessionid={cookie}".encode()), (b"origin", origin.encode())]


async def in_thread(function, *args):
    """Call a function that uses the database, beside the event loop."""
    return await asyncio.to_thread(closing_connection, function, *args)


async def committed(*changes):
    """Record changes and tell the hub, as the server does."""
    batch = await in_thread(ledger.record, changes)
    hub.push(batch)
    return batch


class Writer(Thread):
    """Commits batches of changes one after the other and has each told on the event loop."""

    def __init__(self, batches):
        super().__init__(daemon=True)
        self.batches = batches
        self.loop = asyncio.get_running_loop()
        self.error = None

    def run(self):
        closing_connection(self._commit_all)

    def _commit_all(self):
        try:
            for changes in self.batches:
                self.loop.call_soon_threadsafe(hub.push, ledger.record(changes))
        except Exception as error:
            self.error = error

    async def done(self):
        await asyncio.to_thread(self.join)
        assert self.error is None, self.error


class Client:
    """One socket; `frames` are all that came, in order."""

    def __init__(self, headers=(HOST,), path="/ws/live"):
        self.socket = WebsocketCommunicator(application, path, headers=list(headers))
        self.frames = []

    async def open(self):
        accepted, _ = await self.socket.connect(timeout=PATIENCE)
        return accepted

    async def __aenter__(self):
        assert await self.open()
        return self

    async def __aexit__(self, *error):
        await self.socket.disconnect(timeout=PATIENCE)

    async def say(self, **frame):
        await self.socket.send_json_to(frame)

    async def say_text(self, text):
        await self.socket.send_to(text_data=text)

    async def hear(self):
        """The next frame."""
        message = await self.socket.receive_output(PATIENCE)
        assert message["type"] == "websocket.send", message
        self.frames.append(json.loads(message["text"]))
        return self.frames[-1]

    async def hear_op(self, op):
        """The next frame of this kind."""
        while (frame := await self.hear())["op"] != op:
            pass
        return frame

    async def closed(self):
        """The code that the server closes with."""
        while (message := await self.socket.receive_output(PATIENCE))["type"] != "websocket.close":
            pass
        return message["code"]

    async def subscribe(self, stream, **more):
        """Subscribe and give the first frame."""
        await self.say(op="sub", stream=stream, **more)
        return await self.hear()

    async def follow(self, seq, last):
        """Read rows until the one with seq `last`; all seqs that came, after `seq`, in order."""
        seen = []
        while seq < last:
            for row in (await self.hear_op("rows"))["rows"]:
                seen.append(row["seq"])
                seq = row["seq"]
        return seen


class Listener:
    """A socket without an application around it: the hub's side of a connection, whose `send` is the test's.

    `error`: raised by every send; `gate`: an event that every send waits for.
    """

    def __init__(self, run, error=None, gate=None, limit=BUFFER_BYTES):
        self.sent = []
        self.closed_with = None
        self.error = error
        self.gate = gate
        self._heard = asyncio.Event()
        self.connection = Connection(Transport(self._send), Visitor(member_of(run.workspace)), limit)
        hub.enter(self.connection)

    def subscribe(self, stream, after=None):
        hub.subscribe(self.connection, Subscribe(stream, after))

    async def wait_for(self, count):
        """Wait until this many frames have been sent."""
        async with asyncio.timeout(PATIENCE):
            while len(self.sent) < count:
                self._heard.clear()
                await self._heard.wait()

    async def leave(self):
        hub.leave(self.connection)
        await self.connection.end()

    async def _send(self, message):
        if self.error:
            raise self.error
        if self.gate:
            await self.gate.wait()
        if message["type"] == "websocket.close":
            self.closed_with = message["code"]
        else:
            self.sent.append(message["text"])
        self._heard.set()


def member_of(workspace):
    return Caller(workspace.pk, workspace.name, None, None, frozenset({"read"}), "user:test")
