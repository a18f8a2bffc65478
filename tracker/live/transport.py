"""What lies under an ASGI `send`: when the bytes are gone, and how a dead connection is cut.

Uvicorn's `send` waits while its transport is full. Daphne's returns at once and buffers without bound, so there its
transport is asked, as a Twisted push producer is told, to say when it is full and when it is empty again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from channels.sessions import InstanceSessionWrapper

from tracker.live.protocol import Frame

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Transport:
    """A transport whose `send` waits by itself, as ASGI means it."""

    def __init__(self, send: Send) -> None:
        """`send` is the server's own."""
        self.send = send

    async def send_frame(self, frame: Frame) -> None:
        """Give a frame to the transport; returns when it takes more."""
        await self.send({"type": "websocket.send", "text": frame.text})

    async def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        await self.send({"type": "websocket.close", "code": code, "reason": reason})

    def abort(self) -> None:
        """Cut the connection without waiting for what is unsent."""
        protocol = getattr(self.send, "__self__", None)
        with contextlib.suppress(AttributeError):
            protocol.transport.abort()  # type: ignore[union-attr]

    def release(self) -> None:
        """No more will be sent."""

    def pause(self) -> None:
        """Read nothing for a while; a server that reads only what it is asked for does so by itself."""

    def resume(self) -> None:
        """Read on."""


class DaphneTransport(Transport):
    """Daphne's: as push producer of the Twisted transport, called back by it when its buffer is full or empty."""

    def __init__(self, send: Send, protocol: Any) -> None:
        """Takes the place of the HTTP channel, which was registered before the connection became a WebSocket."""
        super().__init__(send)
        self._protocol = protocol
        self._transport = transport = protocol.transport
        self._empty = asyncio.Event()
        self._empty.set()
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    async def send_frame(self, frame: Frame) -> None:
        """Give a frame to the transport; returns when its buffer, once it was full, is empty.

        Framed once for all sockets, and past Daphne, for which a message ends at 1 MB.
        """
        if frame.framed is None:
            frame.framed = self._protocol.factory.prepareMessage(frame.text.encode(), doNotCompress=True)
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._write(frame.framed)
        if not self._empty.is_set():
            await self._empty.wait()

    def _write(self, framed: Any) -> None:
        """Give bytes to the transport, and let it write them now: its own way is a turn of the loop later."""
        if self._protocol.send_queue:
            self._protocol.sendPreparedMessage(framed)  # behind what waits there
            return
        self._transport.write(framed.payloadHybi)
        if self._empty.is_set():
            self._transport.doWrite()  # an error is met again by the reactor, which then ends the connection

    async def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; Daphne itself would send no reason, and not every code."""
        self._protocol.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)

    def abort(self) -> None:
        """Cut the connection without waiting for what is unsent."""
        self._transport.abortConnection()

    def release(self) -> None:
        """A transport with a producer would not close."""
        self._empty.set()
        if self._transport.producer is self:
            self._transport.unregisterProducer()

    def pause(self) -> None:
        """Daphne reads on whatever is asked for: its transport has to be told."""
        self._transport.pauseProducing()

    def resume(self) -> None:
        """Read on, unless the connection is gone."""
        if not self._transport.disconnecting and self._transport.connected:
            self._transport.resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer is full."""
        self._empty.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer is empty."""
        self._empty.set()

    def stopProducing(self) -> None:  # noqa: N802
        """Twisted: the connection is gone."""
        self._empty.set()


def transport_of(send: Send) -> Transport:
    """The transport under a `send`; the session middleware that may wrap it has nothing to add once we accepted."""
    wrapper = getattr(send, "__self__", None)
    while isinstance(wrapper, InstanceSessionWrapper):
        send = wrapper.real_send
        wrapper = getattr(send, "__self__", None)
    if isinstance(send, partial) and send.args:
        protocol = send.args[0]
        if hasattr(getattr(protocol, "transport", None), "registerProducer") and hasattr(protocol, "sendCloseFrame"):
            return DaphneTransport(send, protocol)
    return Transport(send)
