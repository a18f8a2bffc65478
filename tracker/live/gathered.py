"""The hub's side of a long-poll: what its streams say until that is an answer."""

import asyncio
from collections.abc import Mapping

import orjson

from tracker.errors import Failed, NotFound, Problem
from tracker.live.connection import BUFFER_BYTES
from tracker.live.protocol import Frame, encode, now
from tracker.live.transport import Transport

ANSWER_BYTES = BUFFER_BYTES // 2  # beyond which an answer takes no further frame
# What has to be followed by something: a list's items by the digest that they lead to, a resync by its snapshot.
HALF_SAID = {"patch", "resync"}


class Gathered(Transport):
    """Takes a connection's frames instead of a socket, as many as fit into one answer."""

    def __init__(self, known: Mapping[str, int | str | None]) -> None:
        """`known`: what the client has of each stream: a seq, a list's digest, or nothing."""
        self.closed: tuple[int, str] | None = None
        self._known = known
        self._frames: list[Frame] = []
        self._size = 0
        self._last: dict[str, Frame] = {}
        self._stir = asyncio.Event()

    async def send_frame(self, frame: Frame) -> None:
        """Keep a frame; from a full answer on it waits for ever, which is until the poll has been answered."""
        before = self._last.get(frame.stream)
        self._last[frame.stream] = frame
        if self._tells(frame, before):
            self._frames.append(frame)
            self._size += frame.size
        self._stir.set()
        if self._size > ANSWER_BYTES:
            await asyncio.Event().wait()

    def _tells(self, frame: Frame, before: Frame | None) -> bool:
        """Whether the client does not know this already."""
        if frame.op == "head":
            return before is not None and before.op == "patch"
        # Only for lists: a digest is a text.
        return not (isinstance(frame.at, str) and frame.at == self._known.get(frame.stream))

    async def close(self, code: int, reason: str) -> None:
        """The hub lets the client go."""
        self.closed = (code, reason)
        self._stir.set()

    def abort(self) -> None:
        """Nothing is held that had to be cut."""

    @property
    def settled(self) -> bool:
        """Whether every stream has spoken and none is in the middle of something."""
        return self._last.keys() >= self._known.keys() and not any(f.op in HALF_SAID for f in self._last.values())

    @property
    def unfinished_lists(self) -> set[str]:
        """Lists whose change came, but not yet what they look like after it."""
        return {stream for stream, frame in self._last.items() if frame.op == "patch"}

    @property
    def complete(self) -> bool:
        """Whether this is an answer before its time."""
        return self.closed is not None or bool(self._frames and self.settled)

    async def stirred(self, seconds: float) -> bool:
        """Wait for more; False if nothing came for so long, which counts only once all streams are settled."""
        self._stir.clear()
        try:
            async with asyncio.timeout(max(0.0, seconds) if self.settled else None):
                await self._stir.wait()
        except TimeoutError:
            return False
        return True

    def body(self) -> bytes:
        """`{"frames": [...], "time"}` with something of every stream, a head where there is nothing new.

        Raises a Problem when all there is to say is that there are no such streams.
        """
        if all(frame.op == "error" for frame in self._last.values()):
            raise _problem(self._frames[0])
        told = {frame.stream for frame in self._frames}
        heads = [_head(frame) for stream, frame in self._last.items() if stream not in told]
        texts = ",".join(frame.text for frame in (*self._frames, *heads))
        return f'{{"frames":[{texts}],"time":"{now()}"}}'.encode()


def _head(last: Frame) -> Frame:
    place = {"digest" if isinstance(last.at, str) else "seq": last.at}
    return encode("head", stream=last.stream, **place, time=now())


def _problem(error: Frame) -> Problem:
    said = orjson.loads(error.text)
    return NotFound(said["detail"]) if said["code"] == "not-found" else Failed()
