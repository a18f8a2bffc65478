"""A queue group: all connections of one agent name, and who of them gets which message.

Groups of registered names are served from the log in order: requests that they consume are handed over (committed
first: at most once an attempt), all else is sent before its cursor is saved (at least once). Groups of names that
never registered get what comes while they are connected.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable

from tracker import writer
from tracker.bus import mailbox
from tracker.bus.aside import Aside
from tracker.bus.connections import Connection
from tracker.bus.mailbox import REQUESTS, RESULTS, Registered, Want
from tracker.changes import Change, Delivery, Handover
from tracker.errors import Problem, Unavailable
from tracker.reader import Reader

log = logging.getLogger(__name__)
Key = tuple[int, str, str]  # workspace id, tenant id or "", agent name
CHUNK = 200  # messages that one round serves
BACKLOG = 20_000  # live messages that a group may be behind before it reads them from the log again
BACKLOG_CHARACTERS = 32_000_000  # the same in size
SAVE_SECONDS = 0.5  # between two savings of a results cursor
RETRY_SECONDS = 0.5
SERVED = 2_000  # newest messages of which a group knows that it has served them
SETTLE_SECONDS = 5  # for what is being handed over when the server ends


class Group:
    """All connections of one agent name that see the same tenant."""

    def __init__(self, key: Key, reader: Reader, *, shared: bool = False) -> None:
        """`shared`: other server processes may have connections of this name.

        `owner` then says who of them serves it.
        """
        self.key = key
        self.shared = shared
        self.owner = not shared
        self.settling = asyncio.Lock()  # who is the owner is being found out
        self.connections: list[Connection] = []
        self.registered: Registered | None = None
        self._reader = reader
        self._backlog: deque[Delivery] = deque()
        self._returned: deque[Delivery] = deque()  # handed over to a connection that ended before they were sent
        self._unsure: list[tuple[Delivery, Connection]] = []  # that may be handed over; nobody heard
        self._backlog_size = 0  # characters
        self.aside = Aside()  # what the owner serves
        self._served: deque[int] = deque(maxlen=SERVED)  # by this process, as their owner: keys, see Delivery
        self._served_before: set[int] = set()  # by the process that was the owner before
        self._ending = False
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._behind = True  # what waits in the log has not been read yet
        self._saved_at = 0.0
        self._results_saved = 0

    @property
    def topics(self) -> frozenset[str]:
        """Topics that at least one of its connections listens to."""
        return frozenset().union(*(c.topics for c in self.connections))

    @property
    def consumed(self) -> frozenset[str]:
        """Event types that at least one of its connections consumes."""
        return frozenset().union(*(c.consumed for c in self.connections))

    def join(self, connection: Connection) -> None:
        """Add a connection; a registered group then reads what waits for it."""
        connection.on_room = self._wake.set
        self.connections.append(connection)
        self.look_again()
        if self.registered is None:
            self._offer_returned()

    def leave(self, connection: Connection) -> None:
        """Remove a connection; what it certainly never got goes to another one."""
        if connection in self.connections:
            self.connections.remove(connection)
        self._returned.extend(connection.unsent())
        if self.registered:
            self._wake.set()
        elif self.connections:
            self._offer_returned()

    def _offer_returned(self) -> None:
        while self._returned:
            self.offer(self._returned.popleft())

    def look_again(self) -> None:
        """What the group consumes may have changed: read the log again for what waits."""
        if self.registered is None:
            return
        for connection in self.connections:
            connection.consumed = self.registered.consumed_by(connection.agent_id)
        self._behind = True
        self._wake.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name=f"bus-{self.key[2]}")

    def offer(self, delivery: Delivery) -> None:
        """A message was recorded just now."""
        if self.registered and self.shared and (delivery.topic == RESULTS or delivery.type in self.consumed):
            # Processes hear of each other's commits in any order; the log has one.
            self._behind = True
            self._wake.set()
            return
        if not self.owner:
            self.aside.put(delivery)
            return
        if delivery.row_id in self._served_before:  # it comes late
            return
        if self.registered is None:
            listening = [c for c in self.connections if delivery.topic in c.topics]
            if connection := self._pick(delivery, listening):
                self._put(delivery, connection)
            return
        self._backlog.append(delivery)
        self._backlog_size += len(delivery.frame)
        if len(self._backlog) > BACKLOG or self._backlog_size > BACKLOG_CHARACTERS:
            self._forget_backlog()
        self._wake.set()

    def own(self, owner: bool, registered: Registered | None = None, served: Iterable[int] = ()) -> None:
        """This process serves the group from now on, from where the other one left it; or it does no more.

        `served`: messages of late that the other one has served, by their keys in the log.
        """
        if owner == self.owner:
            return
        self.owner = owner
        if self.registered and registered:
            self.registered.results_cursor = self._results_saved = registered.results_cursor
        self._returned = deque(d for d in self._returned if self.registered and d.topic == REQUESTS)
        self.look_again()
        if owner:
            self._served_before = set(served)
            self._served.extend(self._served_before)
            for delivery in self.aside.take():
                self.offer(delivery)

    def served(self) -> list[int]:
        """Messages of late that no other process has to give any more, by their keys in the log."""
        returned = {delivery.row_id for delivery in self._returned}
        return [key for key in self._served if key not in returned]

    def _forget_backlog(self) -> None:
        """What has gathered is in the log as well, but for topics that never wait."""
        self._backlog.clear()
        self._backlog_size = 0
        self._behind = True

    async def settle(self) -> None:
        """Hand over no more: what is handed over by now has been given to its connection."""
        self._ending = True
        self._wake.set()
        if self._pump:
            await asyncio.wait({self._pump}, timeout=SETTLE_SECONDS)

    async def stop(self) -> None:
        """End the pump and save what was sent."""
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._save(now=True)

    # --- the pump of a registered group -------------------------------------------------------------------------------

    @property
    def _serving(self) -> bool:
        return bool(self.connections) and not self._ending

    async def _run(self) -> None:
        # Somebody may join while the cursor is saved.
        while self._serving:
            await self._serve_all()
            self._forget_backlog()
            await self._save(now=True)

    async def _serve_all(self) -> None:
        while self._serving:
            try:
                await self._round()
            except Exception as error:
                # Whatever it is: without its pump an agent name would never be served again.
                log.warning("bus %s: %s; trying again", self.key[2], error, exc_info=not isinstance(error, Problem))
                self._behind = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _round(self) -> None:
        """Serve what is there; without anything, wait."""
        self._wake.clear()
        if self._unsure:
            await self._give_unsure()
        elif self._returned:
            await self._give_returned()
        elif self._behind:
            await self._catch_up()
        elif self._backlog:
            items = [self._backlog.popleft() for _ in range(min(CHUNK, len(self._backlog)))]
            self._backlog_size -= sum(len(d.frame) for d in items)
            await self._serve(items)
        else:
            await self._save()
            await self._wait()

    async def _wait(self) -> None:
        unsaved = self._results_safe() > self._results_saved
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAVE_SECONDS if unsaved else None):
                await self._wake.wait()

    async def _catch_up(self) -> None:
        """Serve what waits in the log, page after page; what is recorded meanwhile gathers in the backlog."""
        self._behind = False
        await self._serve(await self._reader.read(mailbox.never_handed, self._want()), old=True)
        while self._serving and (page := await self._reader.read(mailbox.waiting, self._want())):
            await self._serve(page)

    def _want(self) -> Want:
        assert self.registered
        workspace_id, tenant_id, _ = self.key
        r = self.registered
        topics = self.topics if self.owner else self.topics - {RESULTS}
        return Want(workspace_id, tenant_id, topics, self.consumed, r.requests_cursor, r.results_cursor)

    async def _give_returned(self) -> None:
        """Give to another connection what the first one never got; it must not be lost on the way."""
        while self._returned and await self._room():
            piece = [self._returned.popleft() for _ in range(min(CHUNK, self._most(), len(self._returned)))]
            try:
                await self._give(piece, again=True)
            except BaseException:
                self._returned.extendleft(reversed(piece))
                raise

    async def _serve(self, items: list[Delivery], *, old: bool = False) -> None:
        """Give messages to the connections in order, as fast as these take them; what nobody takes stays in the log."""
        if not old:
            items = [d for d in items if d.again or d.row_id < 0 or d.row_id > self._cursor(d)]
        at = 0
        while at < len(items):
            if not await self._room():
                self._behind = True
                return
            end = at + self._most()
            await self._give(items[at:end])
            at = end

    async def _room(self) -> bool:
        """Wait until a connection can take more: the log is the buffer, not the server's memory.

        False when nobody is to be served any more.
        """
        while self._serving and all(c.full for c in self.connections):
            self._wake.clear()
            await self._wake.wait()
        return self._serving

    def _most(self) -> int:
        """How many messages may be given at once, so that no connection has to drop any."""
        return min(c.room for c in self.connections)

    async def _give(self, items: list[Delivery], *, again: bool = False) -> None:
        """Give each message to one connection; requests that are consumed are handed over first."""
        picked = [(d, c) for d in items if (c := self._pick_for(d)) and (self.owner or self._handed(d, c))]
        await self._give_picked(picked, again=again)

    async def _give_unsure(self) -> None:
        """Once more, and to the same connections, what they may hold without having been sent it."""
        picked, self._unsure = [(d, c) for d, c in self._unsure if c in self.connections], []
        await self._give_picked(picked, unsure=True)

    async def _give_picked(
        self, picked: list[tuple[Delivery, Connection]], *, again: bool = False, unsure: bool = False
    ) -> None:
        to_hand = [(d, c) for d, c in picked if self._handed(d, c)]
        try:
            sendable = await self._hand_over(to_hand, again, unsure)
        except Unavailable:
            if not again:
                self._unsure += to_hand  # it may be recorded all the same
            raise
        for delivery, connection in picked:
            if self._handed(delivery, connection) and delivery.row_id not in sendable:
                continue
            if connection in self.connections:
                self._put(delivery, connection)
            elif delivery.topic == REQUESTS or self.owner:
                self._returned.append(delivery)
        for delivery, _ in picked:
            self._advance(delivery)

    def _put(self, delivery: Delivery, connection: Connection) -> None:
        connection.put(delivery)
        if self.shared:
            self._served.append(delivery.row_id)

    @staticmethod
    def _handed(delivery: Delivery, connection: Connection) -> bool:
        return delivery.topic == REQUESTS and delivery.type in connection.consumed

    async def _hand_over(self, picked: list[tuple[Delivery, Connection]], again: bool, unsure: bool) -> set[int]:
        """Commit that these requests are held by these agents; gives the rows that may be sent."""
        if not picked:
            return set()
        assert self.registered
        workspace_id, tenant_id, name = self.key
        cursor = max(d.row_id for d, _ in picked)
        by_agent: dict[str, list[int]] = {}
        for delivery, connection in picked:
            by_agent.setdefault(connection.agent_id, []).append(delivery.row_id)
        changes: list[Change] = [
            Handover(
                workspace_id=workspace_id,
                tenant_id=tenant_id,
                by=f"agent:{name}",
                row_ids=rows,
                name=name,
                agent_id=agent_id,
                group_id=self.registered.group_id,
                cursor=cursor,
                again=again,
                unsure=unsure,
            )
            for agent_id, rows in by_agent.items()
        ]
        outcomes = await writer.commit(changes)
        return {row for outcome in outcomes for row in outcome.value}

    def _pick_for(self, delivery: Delivery) -> Connection | None:
        listening = [c for c in self.connections if delivery.topic in c.topics]
        consuming = [c for c in listening if self._handed(delivery, c)]
        others = [c for c in consuming if c.agent_id != delivery.avoid]
        return self._pick(delivery, others or consuming or listening)

    @staticmethod
    def _pick(delivery: Delivery, connections: list[Connection]) -> Connection | None:
        """Whoever has least to read; among equals, whose turn it is."""
        chosen = min(connections, key=lambda c: (c.full, c.turn), default=None)
        if chosen:
            chosen.turn = max(c.turn for c in connections) + 1
        return chosen

    # --- cursors ------------------------------------------------------------------------------------------------------

    def _cursor(self, delivery: Delivery) -> int:
        assert self.registered
        if delivery.topic == REQUESTS:
            return self.registered.requests_cursor
        return self.registered.results_cursor if delivery.topic == RESULTS else 0

    def _advance(self, delivery: Delivery) -> None:
        assert self.registered
        if delivery.topic == REQUESTS:
            self.registered.requests_cursor = max(self.registered.requests_cursor, delivery.row_id)
        elif delivery.topic == RESULTS:
            self.registered.results_cursor = max(self.registered.results_cursor, delivery.row_id)

    def _results_safe(self) -> int:
        """Up to where all results have left the server: what still waits in a connection does not count as sent."""
        assert self.registered
        held = [d.row_id for c in self.connections for d in (*c.sending, *c.waiting) if d.topic == RESULTS]
        held += [d.row_id for d in self._returned if d.topic == RESULTS]
        return min(held) - 1 if held else self.registered.results_cursor

    async def _save(self, *, now: bool = False) -> None:
        if self.registered is None or not self.owner:
            return
        loop = asyncio.get_running_loop()
        safe = self._results_safe()
        if safe > self._results_saved and (now or loop.time() - self._saved_at >= SAVE_SECONDS):
            self._saved_at, self._results_saved = loop.time(), safe
            await self._reader.read(mailbox.save_results_cursor, self.registered.group_id, safe)
