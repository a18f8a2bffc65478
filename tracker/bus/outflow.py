"""Whether a stream's reader takes what it is sent: a server must not hold without bound what nobody reads.

Uvicorn's `send` waits while its buffer is full. Daphne's returns at once and buffers all it is given, so its request is
asked, as Twisted tells any push producer, to say when its buffer is full and when it is empty again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Outflow:
    """Of a `send` that waits by itself, as ASGI means it."""

    def __init__(self, send: Any) -> None:
        self._send = send

    @property
    def full(self) -> bool:
        """Whether more should wait."""
        return False

    async def free(self) -> None:
        """Returns when the connection takes more."""

    def cut(self) -> None:
        """End the connection without waiting for what its reader has not taken."""
        with contextlib.suppress(AttributeError):  # servers that we do not know end in their own time
            self._send.__self__.transport.abort()

    def release(self) -> None:
        """The response ends: nothing waits any more."""


class DaphneOutflow(Outflow):
    """Of a response under Daphne: called back by Twisted as its buffer fills and empties."""

    def __init__(self, send: Any, request: Any) -> None:
        super().__init__(send)
        self._request = request
        self._free = asyncio.Event()
        self._free.set()
        request.registerProducer(self, True)

    @property
    def full(self) -> bool:
        """Whether the buffer has not been emptied since it was full."""
        return not self._free.is_set()

    async def free(self) -> None:
        """Returns when the buffer, once it was full, is empty or gone."""
        await self._free.wait()

    def cut(self) -> None:
        """End the connection without waiting for what its reader has not taken."""
        if self._request.channel is not None:
            self._request.channel.transport.abortConnection()

    def release(self) -> None:
        """A response with a producer does not end."""
        self._free.set()
        if self._request.channel is not None and self._request.producer is self:
            self._request.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer is full."""
        self._free.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer is empty."""
        self._free.set()

    def stopProducing(self) -> None:  # noqa: N802
        """Twisted: the connection is gone."""
        self._free.set()


def outflow_of(send: Any) -> Outflow:
    """The outflow of an ASGI response."""
    request = send.args[0] if isinstance(send, partial) and send.args else None
    if hasattr(request, "registerProducer") and getattr(request, "channel", None) is not None:
        return DaphneOutflow(send, request)
    return Outflow(send)


@contextlib.asynccontextmanager
async def paced(send: Send) -> AsyncIterator[Send]:
    """A `send` that returns, after each part of a body but the last, when the connection takes more."""
    outflow: Outflow | None = None

    async def slow(event: dict[str, Any]) -> None:
        nonlocal outflow
        if event["type"] != "http.response.body" or not event.get("more_body"):
            if outflow:
                outflow.release()
                outflow = None
            await send(event)
            return
        outflow = outflow or outflow_of(send)
        await send(event)
        await outflow.free()

    try:
        yield slow
    finally:
        if outflow:
            outflow.release()
