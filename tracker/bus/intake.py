"""`/ws/agent`: a socket for agents that outgrow a request per event. Envelopes in, acks out, one a frame and in order.

What comes while a commit runs goes into the next one. Frames without an ack are bounded: beyond, nothing is read.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from typing import Any

import orjson
from django.conf import settings

from tracker import writer
from tracker.bus.batch import Intake, NotTaken, refusal, result
from tracker.bus.publish import Receive, Scope, Send
from tracker.changes import Message
from tracker.envelope import loads
from tracker.errors import Unavailable
from tracker.live.access import Visitor, allowed_of, same_origin, visitor
from tracker.live.protocol import Frame
from tracker.live.transport import Transport, transport_of
from tracker.reader import Reader

log = logging.getLogger(__name__)
MOST_FRAMES = 1000  # without an ack; so many bytes at most: as a body may have
IN_ONE_COMMIT = 250
AT_ONCE = 50  # frames read before others on the loop get their turn
LOOK_SECONDS = 5.0  # between two looks whether the agents may still publish
UNAUTHENTICATED, FORBIDDEN, BROKEN, RESTART = 4401, 4403, 1011, 1012
Taken = Message | NotTaken


class Session:
    """One agent's socket."""

    def __init__(self, who: Visitor, transport: Transport) -> None:
        self.who = who
        self._intake = Intake(who.caller)
        self._transport = transport
        self._waiting: deque[tuple[Taken, int]] = deque()  # with their sizes
        self.unanswered = 0  # frames without an ack
        self._bytes = 0  # of them
        self._arrived, self._acked = asyncio.Event(), asyncio.Event()
        self._closing: tuple[int, str] | None = None

    def close(self, code: int, reason: str) -> None:
        """Read no more; answer what was read, then close."""
        self._closing = self._closing or (code, reason)
        self._arrived.set()

    async def run(self, receive: Receive) -> None:
        """Serve the socket until either side closes it."""
        reading = asyncio.create_task(self._read(receive), name="agent-read")
        answering = asyncio.create_task(self._answer(), name="agent-answer")
        try:
            await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
            self.close(1000, "")  # the agent is gone: what it sent is recorded all the same
            await answering
        except Exception:
            log.exception("a socket of agents failed")
            await self._end(BROKEN, "the server failed; its log says why")
        finally:
            for task in (reading, answering):
                task.cancel()
            await asyncio.gather(reading, answering, return_exceptions=True)
            self._transport.release()

    async def _read(self, receive: Receive) -> None:
        for turn in itertools.count(1):
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._closing:
                continue
            frame = message.get("bytes") or (message.get("text") or "").encode()
            self._waiting.append((self._take(frame), len(frame)))
            self.unanswered += 1
            self._bytes += len(frame)
            self._arrived.set()
            if self._full:
                await self._room()
            elif turn % AT_ONCE == 0:
                await asyncio.sleep(0)

    @property
    def _full(self) -> bool:
        return self.unanswered >= MOST_FRAMES or self._bytes >= settings.MAX_BODY_BYTES

    async def _room(self) -> None:
        self._transport.pause()
        try:
            while self._full:
                self._acked.clear()
                await self._acked.wait()
        finally:
            self._transport.resume()

    def _take(self, frame: bytes) -> Taken:
        if len(frame) > settings.MAX_EVENT_BYTES:
            return NotTaken(None, f"an event may have {settings.MAX_EVENT_BYTES} bytes")
        try:
            return self._intake.take(loads(frame))
        except ValueError as error:
            return NotTaken(None, f"the frame is no JSON: {error}")
        except NotTaken as fault:
            return fault

    async def _answer(self) -> None:
        while self._waiting or not self._closing:
            if self._waiting:
                await self._commit([self._waiting.popleft() for _ in range(min(IN_ONE_COMMIT, len(self._waiting)))])
            else:
                self._arrived.clear()
                await self._arrived.wait()
        await self._end(*self._closing)

    async def _commit(self, frames: list[tuple[Taken, int]]) -> None:
        acks = await acks_of([taken for taken, _ in frames])
        for ack, (_, size) in zip(acks, frames, strict=True):
            text = orjson.dumps(ack)
            with contextlib.suppress(OSError):  # the agent went away while we wrote
                await self._transport.send_frame(Frame(text.decode(), len(text)))
            self.unanswered -= 1
            self._bytes -= size
            self._acked.set()

    async def _end(self, code: int, reason: str) -> None:
        with contextlib.suppress(OSError):
            await self._transport.close(code, reason)


async def acks_of(taken: list[Taken]) -> list[dict[str, Any]]:
    """Record what can be recorded, in one commit, and answer each in order."""
    changes = [one for one in taken if isinstance(one, Message)]
    try:
        outcomes = iter([result(outcome) for outcome in await writer.commit(changes)] if changes else [])
    except Unavailable as problem:
        outcomes = iter([_unavailable(change, problem) for change in changes])
    return [_brief(refusal(one) if isinstance(one, NotTaken) else next(outcomes)) for one in taken]


def _unavailable(change: Message, problem: Unavailable) -> dict[str, Any]:
    after = problem.more.get("retry_after", 1)
    said = {"event_id": change.envelope.id, "outcome": "unavailable", "seq": None}
    return said | {"retry_after": after, "detail": problem.detail}


def _brief(said: dict[str, Any]) -> dict[str, Any]:
    """The answer without what is not known; `event_id` and `seq` always stand there."""
    return {name: value for name, value in said.items() if value is not None or name in {"event_id", "seq"}}


class Sessions:
    """The agents' sockets of this process. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self.open: dict[Session, asyncio.Task[None]] = {}
        self._accepting = False
        self._looking: asyncio.Task[None] | None = None
        self._reader = Reader(threads=1, name="agent-access")

    def start(self) -> None:
        """Take sockets from now on."""
        self._accepting = True
        self._looking = asyncio.create_task(self._look(), name="agent-access")

    def end(self) -> None:
        """Take no new sockets; close those that are open as soon as what they sent is answered."""
        self._accepting = False
        for session in self.open:
            session.close(RESTART, "the server restarts")

    async def stop(self) -> None:
        """End all sockets and wait for it, a few seconds."""
        self.end()
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self.open:
            await asyncio.wait(self.open.values(), timeout=3)
        self._reader.close()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until either side closes it."""
        await receive()  # websocket.connect
        if not self._accepting or not same_origin(scope):
            await send({"type": "websocket.close", "code": FORBIDDEN})
            return
        who = await self._reader.read(visitor, scope)
        await send({"type": "websocket.accept"})
        if who is None or not who.caller.may("publish"):
            # After accepting, so that the agent learns the reason: a refused handshake has none.
            code, reason = (UNAUTHENTICATED, "no valid key") if who is None else (FORBIDDEN, "needs the scope publish")
            await send({"type": "websocket.close", "code": code, "reason": reason})
            return
        session = Session(who, transport_of(send))
        self.open[session] = asyncio.ensure_future(session.run(receive))
        try:
            await self.open[session]
        finally:
            del self.open[session]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.let_go()

    async def let_go(self) -> None:
        """Close the sockets of those who may not publish any more."""
        held = {session.who for session in self.open}
        if held:
            allowed = await self._reader.read(allowed_of, held, "publish")
            for session in self.open:
                if session.who in held - allowed:
                    session.close(UNAUTHENTICATED, "access has ended")


sessions = Sessions()
