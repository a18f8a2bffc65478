"""One browser's socket: a bounded buffer and the task that empties it."""

import asyncio
import logging
from collections import deque
from typing import Protocol

from tracker.live.access import Visitor
from tracker.live.protocol import Frame, encode
from tracker.live.transport import Transport

log = logging.getLogger(__name__)
BUFFER_BYTES = 768 * 1024  # that may wait for one socket, or one frame of any size
STUCK_SECONDS = 30.0  # without a byte taken, while some wait
FORGIVEN_SECONDS = 30.0  # between two overflows
CLOSE_SECONDS = 2.0  # for the closing handshake
TOO_SLOW = 4008
RESTART = 1012
UNAUTHENTICATED = 4401


class Subscription(Protocol):
    """A stream that a socket listens to."""

    def stop(self) -> None:
        """Send no more of it."""


class Connection:
    """A socket that was let in. Everything but `run` only appends to the buffer and returns at once."""

    def __init__(self, transport: Transport, who: Visitor, limit: int = BUFFER_BYTES, *, passing: bool = False) -> None:
        """`limit` in bytes; `passing`: it ends by itself with its first answer, as a poll does."""
        self.who = who
        self.passing = passing
        self.caller = who.caller
        self.subscriptions: dict[str, Subscription] = {}
        self.waiting = 0  # bytes
        self.limit = limit
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[str, Frame]] = deque()
        self._ready = asyncio.Event()
        self._taken = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._overflowed_at = -FORGIVEN_SECONDS
        self._moved_at = self._loop.time()
        self._sender = self._loop.create_task(self._send_all(), name="live-sender")

    @property
    def open(self) -> bool:
        """Whether more can be sent."""
        return self._closing is None and not self._sender.done()

    def offer(self, stream: str, frame: Frame) -> bool:
        """Queue a frame of a stream; False when the buffer is full. A frame of any size fits an empty buffer."""
        if self.waiting and self.waiting + frame.size > self.limit:
            return False
        if self.open:
            self._append(stream, frame)
        return True

    async def put(self, stream: str, frame: Frame) -> None:
        """Queue a frame of a stream as soon as it fits."""
        while not self.offer(stream, frame):
            await self._wait_until_taken()

    async def room(self) -> None:
        """Returns when at most a quarter of the buffer waits."""
        while self.waiting > self.limit // 4:
            await self._wait_until_taken()

    async def drained(self) -> None:
        """Returns when nothing waits."""
        while self.waiting:
            await self._wait_until_taken()

    async def _wait_until_taken(self) -> None:
        self._taken.clear()
        await self._taken.wait()

    def tell(self, op: str, stream: str = "", **members: object) -> None:
        """Queue a small frame whatever waits; a client that makes us say too much without reading it is let go."""
        named = {"stream": stream} if stream else {}
        if self.waiting > 2 * self.limit:
            self.close(TOO_SLOW, "too slow: answers are not read")
        elif self.open:
            self._append(stream, encode(op, **named, **members))

    def _append(self, stream: str, frame: Frame) -> None:
        if not self._queue and not self.waiting:
            self._moved_at = self._loop.time()
        self._queue.append((stream, frame))
        self.waiting += frame.size
        self._ready.set()

    def drop(self, stream: str) -> None:
        """Forget what waits of a stream."""
        kept = [(name, frame) for name, frame in self._queue if name != stream]
        self.waiting -= sum(frame.size for _, frame in self._queue) - sum(frame.size for _, frame in kept)
        self._queue = deque(kept)
        self._taken.set()

    def overflowed(self, stream: str) -> None:
        """Drop the stream's backlog and say `resync`; the second time within half a minute the socket is closed."""
        self.drop(stream)
        now = self._loop.time()
        if now - self._overflowed_at < FORGIVEN_SECONDS:
            self.close(TOO_SLOW, "too slow: fell behind twice")
            return
        self._overflowed_at = now
        self.tell("resync", stream, reason="overflow")

    def close(self, code: int, reason: str) -> None:
        """Drop what waits and close the socket; one that does not close in time is cut."""
        if self._closing is None:
            self._closing = (code, reason)
            self._queue.clear()
            self._ready.set()
            self._loop.call_later(CLOSE_SECONDS, self._cut)

    def close_if_stuck(self) -> None:
        """Close the socket when it took nothing for long although something waits."""
        if self.waiting and self._loop.time() - self._moved_at > STUCK_SECONDS:
            self.close(TOO_SLOW, "too slow: nothing was taken for a while")

    async def ended(self) -> None:
        """Returns when nothing will be sent any more."""
        await asyncio.wait([self._sender])

    def _cut(self) -> None:
        if not self._sender.done():
            self._transport.abort()
            self._sender.cancel()

    async def end(self) -> None:
        """The client is gone, or was told so: send nothing more."""
        self._closing = self._closing or (1000, "")
        self._sender.cancel()
        await self.ended()

    async def _send_all(self) -> None:
        try:
            while self._closing is None:
                await self._ready.wait()
                self._ready.clear()
                await self._send_queued()
            await self._transport.close(*self._closing)
        except OSError:
            pass  # the client went away while we wrote
        except Exception:
            log.exception("a socket cannot be written to and is cut")
            self._transport.abort()
        finally:
            self._queue.clear()
            self.waiting = 0
            self._taken.set()
            self._transport.release()

    async def _send_queued(self) -> None:
        while self._queue:
            _, frame = self._queue.popleft()
            await self._transport.send_frame(frame)
            self.waiting -= frame.size
            self._moved_at = self._loop.time()
            self._taken.set()
