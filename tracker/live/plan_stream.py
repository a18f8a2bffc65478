"""A plan's log on its way to the sockets that follow it: contiguous, or it says `resync`.

The rule, for the stream as for each of its subscribers: a row that is next goes forward, one that is ahead means that
the log has to be read, one that is behind is ignored. So it does not matter in which order commits are told, nor
whether all of them are.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from tracker.live import reads
from tracker.live.connection import Connection
from tracker.live.protocol import PLAN, Frame, Rows, encode, now
from tracker.reader import Reader

log = logging.getLogger(__name__)
FARTHEST = 20_000  # rows that are replayed; who is farther behind gets a snapshot
OVERFLOW = "overflow"
OpenStream = Callable[[int, str], "PlanStream"]


class Behind(Exception):
    """A subscriber cannot go on from where it is."""

    def __init__(self, reason: str) -> None:
        """`reason`: the word that the client is told."""
        super().__init__(reason)
        self.reason = reason


class SetBack(Exception):
    """The log is shorter than what the subscriber was given."""


class PlanStream:
    """The subscribers of one plan in this process. `seq`: of the last row given to them, None before the first read."""

    def __init__(self, key: int, name: str, reader: Reader, on_empty: Callable[[int], None]) -> None:
        """`key`: primary key of the plan; `on_empty` is called with it when the last subscriber has left."""
        self.key = key
        self.name = name
        self.reader = reader
        self.seq: int | None = None
        self.members: set[PlanSubscription] = set()
        self.encoded = 0  # frames
        self._on_empty = on_empty
        self._wanted = 0
        self._healing: asyncio.Task[None] | None = None

    def add(self, member: "PlanSubscription") -> None:
        """From now on the member hears of every row."""
        self.members.add(member)

    def discard(self, member: "PlanSubscription") -> None:
        """The member hears no more."""
        self.members.discard(member)
        if not self.members:
            if self._healing is not None:
                self._healing.cancel()
            self._on_empty(self.key)

    def push(self, rows: list[dict[str, Any]]) -> None:
        """Rows that were committed together, in order."""
        first, last = rows[0]["seq"], rows[-1]["seq"]
        if self.seq is None or self._healing is not None or first > self.seq + 1 or last - first + 1 != len(rows):
            self.hear_of(last)
        elif last > self.seq:
            self._forward([row for row in rows if row["seq"] > self.seq])

    def hear_of(self, seq: int) -> None:
        """The log is known to reach `seq`: what of it the members have not seen is read."""
        self._wanted = max(self._wanted, seq)
        if self.seq is not None and self.seq < self._wanted and self._healing is None:
            self._healing = asyncio.create_task(self._heal(), name="live-heal")

    def begin(self, seq: int) -> None:
        """A member goes along from `seq`; so does the stream, unless it knew already where it is."""
        if self.seq is None:
            self.seq = seq
            self.hear_of(seq)

    def _forward(self, rows: list[dict[str, Any]]) -> None:
        self._give(Rows.of(self.name, rows))
        self.encoded += 1

    def _give(self, rows: Rows) -> None:
        self.seq = rows.last
        for member in list(self.members):
            member.take(rows)

    async def _heal(self) -> None:
        try:
            while self.seq is not None and self.seq < self._wanted:
                page = await self.reader.read(reads.page, self.key, self.name, self.seq)
                if page is None or page.rows is None:
                    self._wanted = self.seq  # gone meanwhile: whoever needs it is told when it asks
                elif page.rows.first > self.seq + 1:
                    self.seq = page.rows.last
                    self._restart_all("pruned")
                else:
                    self._give(page.rows)
        finally:
            self._healing = None

    def tell_head(self, head: int, given: int | None) -> None:
        """The log's head as the database had it: tell the members where the stream is, and heal what is missing.

        `given`: the stream's seq before the database was asked; since then more may have been committed and pushed.
        """
        if self.seq is None:
            return
        if given is not None and head < given:
            self.set_back()
            return
        self.hear_of(head)
        frame = encode("head", stream=self.name, seq=self.seq, time=now())
        for member in list(self.members):
            member.tell_head(frame)

    def set_back(self) -> None:
        """The log is shorter than what was given, as after the restore of a backup: begin again."""
        self.seq, self._wanted = None, 0
        self._restart_all("set-back")

    def _restart_all(self, reason: str) -> None:
        for member in list(self.members):
            member.restart(reason)


class PlanSubscription:
    """One socket on one plan. `seen`: the seq that it has been given.

    `_held`: rows that arrived while it still reads the log; None once it goes along with the stream.
    """

    def __init__(self, connection: Connection, name: str, reader: Reader, open_stream: OpenStream) -> None:
        """`name`: of the stream; `open_stream` gives the plan's stream by primary key and name."""
        self.connection = connection
        self.name = name
        self.seen = 0
        self._known = 0  # the log reaches at least so far
        self._reader = reader
        self._open_stream = open_stream
        self._stream: PlanStream | None = None
        self._held: list[Rows] | None = []
        self._held_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, after: int | None) -> None:
        """Begin: with a snapshot, or with the rows after `after`."""
        self._task = asyncio.create_task(self._run(after), name="live-join")

    def restart(self, reason: str) -> None:
        """Drop what waits, say `resync`, and begin again with a snapshot as soon as there is room."""
        self._cancel()
        if reason == OVERFLOW:
            self.connection.overflowed(self.name)
        else:
            self.connection.drop(self.name)
            self.connection.tell("resync", self.name, reason=reason)
        self._hold_from_now()
        if self.connection.open:
            self._task = asyncio.create_task(self._run_again(), name="live-rejoin")

    def stop(self) -> None:
        """Send no more."""
        self._cancel()
        if self._stream is not None:
            self._stream.discard(self)
            self._stream = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def take(self, rows: Rows) -> None:
        """New rows of the stream."""
        if self._held is None:
            fresh = rows.after(self.seen)
            if fresh is not None and not self._give(fresh):
                self.restart(OVERFLOW)
            return
        self._held.append(rows)
        self._held_bytes += rows.frame.size
        if self._held_bytes > self.connection.limit // 2:
            self._hold_from_now()  # what is forgotten here is read from the log

    def tell_head(self, frame: Frame) -> None:
        """Where the log is; nothing while the subscriber is still on its way there."""
        if self._held is None:
            self.connection.offer(self.name, frame)

    def _hold_from_now(self) -> None:
        self._held, self._held_bytes = [], 0

    def _give(self, rows: Rows) -> bool:
        given = self.connection.offer(self.name, rows.frame)
        if given:
            self.seen = rows.last
        return given

    async def _run_again(self) -> None:
        # Not before it is wanted: a snapshot that waits in the buffer grows old.
        await self.connection.drained()
        await self._run(None)

    async def _run(self, after: int | None) -> None:
        try:
            await self.connection.room()
            stream = await self._find()
            self._hold_from_now()
            if after is None:
                await self._snapshot(stream)
            else:
                await self._replay(stream, after)
            await self.connection.room()
            while not self._settle(stream):
                await self._read_on(stream)
                await self.connection.room()
            stream.begin(self.seen)
            self.connection.offer(self.name, encode("head", stream=self.name, seq=self.seen, time=now()))
        except Behind as behind:
            self.restart(behind.reason)
        except SetBack:
            stream.set_back()
        except LookupError:
            self._fail("not-found", "there is no plan with this id")
        except Exception:
            log.exception("%s cannot be sent", self.name)
            self._fail("internal", "the server could not read this stream")

    def _fail(self, code: str, detail: str) -> None:
        if self.connection.subscriptions.get(self.name) is self:
            del self.connection.subscriptions[self.name]
        self.connection.tell("error", self.name, code=code, detail=detail)
        self.stop()

    async def _find(self) -> PlanStream:
        # Join before reading, so that nothing falls between the two.
        if self._stream is None:
            caller = self.connection.caller
            plan_id = self.name.removeprefix(PLAN)
            asked = ("key", caller.workspace_id, caller.tenant_id, plan_id)
            key = await self._reader.shared(asked, reads.plan_key, caller, plan_id)
            if key is None:
                raise LookupError
            self._stream = self._open_stream(key, self.name)
            self._stream.add(self)
        return self._stream

    async def _snapshot(self, stream: PlanStream) -> None:
        # The answer of a read that began before we joined is good as well: what it lacks is read on.
        snapshot = await self._reader.shared(("snapshot", stream.key), reads.snapshot, stream.key, self.name)
        if snapshot is None:
            raise LookupError
        await self.connection.put(self.name, snapshot.frame)
        self.seen = self._known = snapshot.seq

    async def _replay(self, stream: PlanStream, after: int) -> None:
        self.seen = after
        page = await self._page(stream)
        if page.head < after:
            raise Behind("ahead")
        if page.head - after > FARTHEST:
            raise Behind("too-far-behind")
        await self._advance(page)

    async def _read_on(self, stream: PlanStream) -> None:
        page = await self._page(stream)
        if page.head < self.seen:
            raise SetBack
        await self._advance(page)

    async def _page(self, stream: PlanStream) -> reads.Page:
        asked = ("page", stream.key, self.seen)
        page = await self._reader.shared(asked, reads.page, stream.key, self.name, self.seen)
        if page is None:
            raise LookupError
        return page

    async def _advance(self, page: reads.Page) -> None:
        self._known = page.head
        if page.head <= self.seen:
            return
        if page.rows is None or page.rows.first > self.seen + 1:
            raise Behind("pruned")
        await self.connection.put(self.name, page.rows.frame)
        self.seen = page.rows.last

    def _settle(self, stream: PlanStream) -> bool:
        """Hand out what was held, from the row that is next; True when nothing is missing any more."""
        for rows in self._held or ():
            if rows.first > self.seen + 1:
                return False
            fresh = rows.after(self.seen)
            if fresh is not None and not self._give(fresh):
                raise Behind(OVERFLOW)
        self._hold_from_now()
        if self.seen < max(self._known, stream.seq or 0):
            return False
        self._held = None
        return True
